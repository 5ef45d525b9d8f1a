/** Models that can be asked, what they cost, and what was spent on them through the gateway. */

import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo } from "react";

import { get, request, type Schemas } from "../api/http";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { compact, count, dollars } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Line } from "../trace/Text";
import { useTitle } from "../parts/useTitle";
import "../jobs/jobs.css";
import "../jobs/summary.css";

type Model = Schemas["ModelItem"];
type Usage = Schemas["UsageItem"];

const MODEL_COLUMNS: Column<Model>[] = [
  { id: "name", header: "Model", width: "minmax(190px, 2fr)", phone: "minmax(0, 1fr)", value: (model) => model.name.toLowerCase(), cell: (model) => <strong><Line>{model.name}</Line></strong> },
  { id: "provider", header: "Provider", width: "minmax(100px, 1fr)", value: (model) => model.provider.name, cell: (model) => <Line>{model.provider.name}</Line> },
  { id: "agent", header: "Agent", width: "130px", value: (model) => model.sdk_agent_type, cell: (model) => model.sdk_agent_type },
  { id: "context", header: "Context", width: "86px", isRight: true, value: (model) => model.context_window, cell: (model) => (model.context_window ? compact(model.context_window) : <span className="quiet">–</span>) },
  { id: "input", header: "In / M", width: "80px", phone: "60px", isRight: true, title: "US dollars for a million tokens of the prompt", value: (model) => model.price?.input, cell: (model) => (model.price ? dollars(model.price.input) : <span className="quiet">–</span>) },
  { id: "output", header: "Out / M", width: "80px", phone: "62px", isRight: true, title: "US dollars for a million tokens of the answer", value: (model) => model.price?.output, cell: (model) => (model.price ? dollars(model.price.output) : <span className="quiet">–</span>) },
  { id: "sees", header: "Can", width: "120px", value: (model) => (model.images ? 1 : 0), cell: (model) => <>{model.images ? <span className="badge">sees</span> : null} {model.reasoning ? <span className="badge">reasons</span> : null}</> },
];

export function ModelsPage() {
  useTitle("Models");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const query = useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get("/v2/models", { signal }) });
  const words = (search.name ?? "").toLowerCase();
  const rows = useMemo(() => query.data?.items.filter((model) => !words || `${model.name} ${model.provider.name}`.toLowerCase().includes(words)) ?? [], [query.data, words]);
  return (
    <div className="list-page">
      <header className="list-head">
        <h1>Models</h1>
        <span className="quiet number">{query.data ? count(query.data.total) : ""}</span>
        <span className="grow" />
        <label className="field-with-icon">
          <Icon name="search" size={14} />
          <input className="field" type="search" value={search.name ?? ""} placeholder="Filter" aria-label="Filter models" onChange={(event) => void navigate({ to: ".", search: { ...search, name: event.target.value || undefined }, replace: true })} />
        </label>
      </header>
      {query.error ? (
        <div className="page">
          <Failure error={query.error} />
        </div>
      ) : query.data && !query.data.items.length ? (
        <Empty icon="models" title="No model can be asked here yet" command="hud providers add NAME --dialect openai --base-url URL --key-stdin">
          Add who serves them; any server that speaks OpenAI's, Anthropic's or Gemini's API will do.
        </Empty>
      ) : (
        <DataTable label="Models" rows={rows} columns={MODEL_COLUMNS} rowKey={(model) => model.id} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} rowHeight={36} />
      )}
    </div>
  );
}

const GROUPS = { model: "Model", provider: "Provider", key: "Key", job: "Job" } as const;
const SINCE: Record<string, [string, number | null]> = { day: ["the last day", 1], week: ["the last week", 7], month: ["the last 30 days", 30], all: ["all time", null] };

export function UsagePage() {
  useTitle("Usage");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const by = search.by && search.by in GROUPS ? (search.by as keyof typeof GROUPS) : "model";
  const span = search.since && search.since in SINCE ? search.since : "month";
  const query = useQuery({
    queryKey: ["usage", by, span],
    queryFn: async ({ signal }) => {
      const words = new URLSearchParams({ group_by: by, limit: "500" });
      const days = SINCE[span]?.[1];
      if (days) words.set("since", new Date(Date.now() - days * 86_400_000).toISOString());
      return (await (await request(`/v2/usage?${words}`, { signal })).json()) as Schemas["UsagePage"];
    },
  });
  const columns = useMemo(() => usageColumns(by), [by]);
  const total = query.data?.total;
  const set = (changed: Record<string, string | undefined>) => void navigate({ to: ".", search: { ...search, ...changed }, replace: true });
  return (
    <div className="list-page">
      <header className="list-head">
        <h1>Usage</h1>
        <span className="quiet">of the gateway</span>
        <span className="grow" />
        <select className="field" value={by} aria-label="Grouped by" onChange={(event) => set({ by: event.target.value })}>
          {Object.entries(GROUPS).map(([id, label]) => (
            <option key={id} value={id}>
              by {label.toLowerCase()}
            </option>
          ))}
        </select>
        <select className="field" value={span} aria-label="Since" onChange={(event) => set({ since: event.target.value })}>
          {Object.entries(SINCE).map(([id, [label]]) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </select>
      </header>
      {query.error ? (
        <div className="page">
          <Failure error={query.error} />
        </div>
      ) : total && !total.calls ? (
        <Empty icon="coins" title="No model was asked through the gateway" command="hud eval tasks.py claude --gateway">
          Calls that agents make to providers directly are counted in their runs, not here.
        </Empty>
      ) : total ? (
        <>
          <section className="summary" aria-label="In all">
            <Figure label="Cost" text={dollars(total.cost_usd)} note={total.unpriced_calls ? `and ${count(total.unpriced_calls)} calls of unknown price` : null} />
            <Figure label="Calls" text={count(total.calls)} note={total.failed_calls ? `${count(total.failed_calls)} failed` : null} />
            <Figure label="Tokens in" text={compact(total.prompt_tokens)} note={total.cached_tokens ? `${compact(total.cached_tokens)} from a cache` : null} />
            <Figure label="Tokens out" text={compact(total.completion_tokens)} note={null} />
          </section>
          <DataTable label="Usage" rows={query.data?.items ?? []} columns={columns} rowKey={(item) => JSON.stringify(item.group)} sort={sortIn(search.sort)} onSort={(sort) => set({ sort: sortOut(sort) })} rowHeight={36} />
        </>
      ) : null}
    </div>
  );
}

function Figure({ label, text, note }: { label: string; text: string; note: string | null }) {
  return (
    <div className="panel figure">
      <span className="label">{label}</span>
      <strong className="figure-main">{text}</strong>
      {note ? <span className="figure-note">{note}</span> : null}
    </div>
  );
}

function usageColumns(by: keyof typeof GROUPS): Column<Usage>[] {
  const name = (item: Usage) => String(item.group[by] ?? "–");
  return [
    { id: "group", header: GROUPS[by], width: "minmax(190px, 2fr)", phone: "minmax(0, 1fr)", value: name, cell: (item) => <strong><Line>{name(item)}</Line></strong> },
    { id: "calls", header: "Calls", width: "90px", phone: "54px", isRight: true, value: (item) => item.calls, cell: (item) => count(item.calls) },
    { id: "failed", header: "Failed", width: "80px", isRight: true, value: (item) => item.failed_calls, cell: (item) => (item.failed_calls ? count(item.failed_calls) : <span className="quiet">–</span>) },
    { id: "in", header: "Tokens in", width: "96px", isRight: true, value: (item) => item.prompt_tokens, cell: (item) => compact(item.prompt_tokens) },
    { id: "out", header: "Tokens out", width: "96px", isRight: true, value: (item) => item.completion_tokens, cell: (item) => compact(item.completion_tokens) },
    { id: "cost", header: "Cost", width: "100px", phone: "80px", isRight: true, value: (item) => item.cost_usd, cell: (item) => `${item.unpriced_calls ? "≥ " : ""}${dollars(item.cost_usd)}` },
  ];
}
