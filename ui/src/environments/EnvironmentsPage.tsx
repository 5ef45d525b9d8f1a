/** Environments that were deployed here, and the version of each that is run. */

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";

import { get, type Schemas } from "../api/http";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { count } from "../parts/format";
import { Moment } from "../parts/Moment";
import { useTitle } from "../parts/useTitle";
import { Line } from "../trace/Text";
import { Version } from "./Build";
import "../jobs/jobs.css";

type Environment = Schemas["EnvironmentItem"];

const COLUMNS: Column<Environment>[] = [
  {
    id: "name",
    header: "Environment",
    width: "minmax(200px, 2fr)",
    phone: "minmax(0, 1fr)",
    value: (one) => one.name.toLowerCase(),
    cell: (one) => (
      <Link to="/environments/$environmentId" params={{ environmentId: one.id }} className="row-link">
        <Line>{one.name}</Line>
      </Link>
    ),
  },
  { id: "build", header: "What is run", width: "minmax(180px, 1.4fr)", phone: "128px", value: (one) => one.latest_build?.version, cell: (one) => <Version of={one.latest_build} /> },
  { id: "updated", header: "Changed", width: "130px", isRight: true, value: (one) => one.updated_at, cell: (one) => <Moment iso={one.updated_at} /> },
];

export function EnvironmentsPage() {
  useTitle("Environments");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const query = useQuery({ queryKey: ["environments"], queryFn: ({ signal }) => get("/v2/registry", { query: { limit: 100, sort_by: "date" }, signal }) });
  return (
    <div className="list-page">
      <header className="list-head">
        <h1>Environments</h1>
        <span className="quiet number">{query.data ? count(query.data.total) : ""}</span>
      </header>
      {query.error ? (
        <div className="page">
          <Failure error={query.error} />
        </div>
      ) : query.data && !query.data.items.length ? (
        <Empty icon="environments" title="No environment is deployed here" command="hud deploy .">
          Evaluations run environments from their files, without this. Deployed, one is built here, and the platform can run it by itself.
        </Empty>
      ) : (
        <DataTable label="Environments" rows={query.data?.items ?? []} columns={COLUMNS} rowKey={(one) => one.id} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} />
      )}
    </div>
  );
}
