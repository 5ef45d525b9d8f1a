/** An address that no page stands at. */

import { Link } from "@tanstack/react-router";

import { Empty } from "../parts/Empty";

export function Missing() {
  return (
    <Empty icon="unknown" title="There is no page here">
      The address may be mistyped, or what it names is kept elsewhere.{" "}
      <Link to="/jobs" className="link">
        To the jobs
      </Link>
    </Empty>
  );
}
