/** Chooses another run of the same task, to see beside this one. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { get } from "../../api/http";
import type { RunDetail } from "../../api/types";
import { Dialog } from "../../parts/Dialog";
import { Failure } from "../../parts/Failure";
import { shortId } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import { Moment } from "../../parts/Moment";
import { Reward } from "../../parts/Reward";
import { Line } from "../Text";
import "../../jobs/jobs.css";

export function BesideOther({ run }: { run: RunDetail }) {
  const [isAsking, setAsking] = useState(false);
  const query = useQuery({
    queryKey: ["runs of task", run.task_slug],
    queryFn: ({ signal }) => get("/v2/traces", { query: { limit: 100, task_slug: run.task_slug }, signal }),
    enabled: isAsking,
  });
  const others = query.data?.items.filter((one) => one.id !== run.id) ?? [];
  return (
    <>
      <button type="button" className="icon-button" onClick={() => setAsking(true)} title="Beside another run of this task" aria-label="Beside another run of this task">
        <Icon name="compare" />
      </button>
      {isAsking ? (
        <Dialog title="Beside which run?" onClose={() => setAsking(false)}>
          {query.error ? <Failure error={query.error} /> : null}
          {query.data && !others.length ? <p className="quiet">There is no other run of this task.</p> : null}
          <ul className="choices">
            {others.map((other) => (
              <li key={other.id}>
                <Link to="/trace/$traceId/beside/$otherId" params={{ traceId: run.id, otherId: other.id }}>
                  <span className="choices-name">
                    <Line>{other.model ?? shortId(other.id)}</Line>
                  </span>
                  <Reward run={other} />
                  <span className="quiet">
                    <Moment iso={other.start_time} />
                  </span>
                </Link>
              </li>
            ))}
          </ul>
        </Dialog>
      ) : null}
    </>
  );
}
