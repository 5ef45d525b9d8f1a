/** Having the platform run a taskset: who works on it, how often, and how much each run may use. */

import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";

import { change, get, type Schemas } from "../api/http";
import { Command } from "../parts/Copy";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { count, dollars, plural } from "../parts/format";
import { chosenOf, type Choice, taskCount, useTasks, WhichTasks } from "./WhichTasks";
import { Icon } from "../parts/Icon";
import { Line } from "../trace/Text";
import "./run.css";

type Model = Schemas["ModelItem"];
type Launch = Schemas["Launch"];
type Launched = Schemas["Launched"];

/** One that does nothing: what it shows is whether the taskset runs here. */
const NOBODY = "noop";
const FILTER_FROM = 8;

export function RunTaskset({ taskset, id }: { taskset: string; id: string }) {
  const [isAsking, setAsking] = useState(false);
  return (
    <>
      <button type="button" className="button primary" onClick={() => setAsking(true)}>
        <Icon name="play" /> Run
      </button>
      {isAsking ? <Form taskset={taskset} id={id} onClose={() => setAsking(false)} /> : null}
    </>
  );
}

function Form({ taskset, id, onClose }: { taskset: string; id: string; onClose: () => void }) {
  const navigate = useNavigate();
  const models = useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get("/v2/models", { signal }) });
  // What the page behind is narrowed down to is what is run, unless it is changed here.
  const search = useSearch({ strict: false });
  const [which, setWhich] = useState<Choice>({ words: search.task ?? "", env: search.env ?? "", slugs: new Set() });
  const tasks = useTasks(id, which);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [repeats, setRepeats] = useState("1");
  const [turns, setTurns] = useState("");
  const [minutes, setMinutes] = useState("");
  const [money, setMoney] = useState("");
  const known = models.data?.items ?? [];
  const run = useMutation({
    mutationFn: async () => {
      const begun: Launched[] = [];
      for (const name of chosen) {
        const body = { ...launchOf(known.find((model) => model.name === name), { repeats, turns, minutes, money }), ...chosenOf(which) };
        begun.push((await change("post", "/v2/tasksets/{taskset_id}/run", { path: { taskset_id: id }, body })) as Launched);
      }
      return begun;
    },
    onSuccess: (begun) => {
      onClose();
      if (begun.length === 1 && begun[0]) void navigate({ to: "/jobs/$jobId", params: { jobId: begun[0].job_id } });
      else void navigate({ to: "/jobs", search: { taskset } });
    },
  });
  const total = taskCount(which, tasks.total);
  const flip = (name: string) => {
    const next = new Set(chosen);
    if (!next.delete(name)) next.add(name);
    setChosen(next);
  };
  return (
    <Dialog title={`Run ${taskset}`} onClose={onClose} className="run-dialog">
      <form
        className="asking"
        onSubmit={(event) => {
          event.preventDefault();
          run.mutate();
        }}
      >
        <Who models={known} chosen={chosen} onFlip={flip} isLoading={models.isPending} error={models.error} />
        <WhichTasks tasks={tasks} choice={which} onChoice={setWhich} />
        <fieldset className="fieldset run-limits">
          <legend className="label">How often, and how much each run may use</legend>
          <label className="labelled">
            <span className="label">Repeats of a task</span>
            <input className="field" type="number" required min={1} max={1000} value={repeats} onChange={(event) => setRepeats(event.target.value)} />
          </label>
          <label className="labelled">
            <span className="label">Turns at most</span>
            <input className="field" type="number" min={1} max={10_000} value={turns} placeholder="10" onChange={(event) => setTurns(event.target.value)} />
          </label>
          <label className="labelled">
            <span className="label">Minutes at most</span>
            <input className="field" type="number" min={0.1} max={10_080} step="any" value={minutes} placeholder="no limit" onChange={(event) => setMinutes(event.target.value)} />
          </label>
          <label className="labelled">
            <span className="label">US dollars at most</span>
            <input className="field" type="number" min={0.001} step="any" value={money} placeholder="no limit" onChange={(event) => setMoney(event.target.value)} />
          </label>
        </fieldset>
        {run.error ? <Failure error={run.error} /> : null}
        <footer className="run-foot">
          <span className="quiet number" role="status">
            {!chosen.size ? "Choose who is to work on it." : total === null ? "" : total === 0 ? "No task fits." : says(total, Number(repeats) || 1, chosen.size, Number(money) || null)}
          </span>
          <button type="button" className="button" onClick={onClose}>
            Not now
          </button>
          <button type="submit" className="button primary" disabled={!chosen.size || !total || run.isPending}>
            {run.isPending ? "Starting…" : "Run it"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

interface WhoProps {
  models: readonly Model[];
  chosen: ReadonlySet<string>;
  onFlip: (name: string) => void;
  isLoading: boolean;
  error: unknown;
}

function Who({ models, chosen, onFlip, isLoading, error }: WhoProps) {
  const [words, setWords] = useState("");
  const shown = models.filter((model) => chosen.has(model.name) || `${model.name} ${model.provider.name}`.toLowerCase().includes(words.toLowerCase()));
  return (
    <fieldset className="fieldset">
      <legend className="label">Who works on it</legend>
      {error ? <Failure error={error} /> : null}
      {models.length >= FILTER_FROM ? (
        <label className="field-with-icon run-filter">
          <Icon name="search" size={14} />
          <input className="field" type="search" value={words} placeholder="Find models" aria-label="Find models" onChange={(event) => setWords(event.target.value)} />
        </label>
      ) : null}
      <ul className="run-who" aria-label="Models">
        {shown.map((model) => (
          <li key={model.id}>
            <label className="check">
              <input type="checkbox" checked={chosen.has(model.name)} onChange={() => onFlip(model.name)} />
              <strong>
                <Line>{model.name}</Line>
              </strong>
              <span className="quiet">
                {model.sdk_agent_type}
                {model.price ? `, ${dollars(model.price.input)} in and ${dollars(model.price.output)} out a million tokens` : ""}
              </span>
            </label>
          </li>
        ))}
        <li>
          <label className="check">
            <input type="checkbox" checked={chosen.has(NOBODY)} onChange={() => onFlip(NOBODY)} />
            <strong>noop</strong>
            <span className="quiet">does nothing: shows whether the taskset runs here, and what nothing scores</span>
          </label>
        </li>
      </ul>
      {!isLoading && !error && !models.length ? (
        <div className="run-none">
          <p className="quiet">No model can be asked here yet. In a terminal of the machine that serves this page:</p>
          <Command>hud providers add NAME --dialect openai --base-url URL --key-stdin</Command>
        </div>
      ) : null}
    </fieldset>
  );
}

interface Limits {
  repeats: string;
  turns: string;
  minutes: string;
  money: string;
}

function launchOf(model: Model | undefined, limits: Limits): Launch {
  const config: Record<string, unknown> = model ? { model: model.name } : {};
  if (model && limits.turns) config.max_steps = Number(limits.turns);
  if (model && limits.money) config.max_cost_usd = Number(limits.money);
  return {
    agent: { type: model?.sdk_agent_type ?? NOBODY, config },
    group: Number(limits.repeats) || 1,
    search: "",
    retries: 2,
    rollout_timeout: limits.minutes ? Number(limits.minutes) * 60 : null,
  };
}

function says(tasks: number, repeats: number, agents: number, money: number | null): string {
  const total = tasks * repeats * agents;
  const parts = [plural(tasks, "task"), repeats > 1 ? `${count(repeats)} repeats` : null, agents > 1 ? plural(agents, "agent") : null].filter(Boolean);
  const most = money === null ? "" : `, at most ${dollars(money * total)}`;
  return `${parts.join(" × ")}: ${plural(total, "run")}${most}`;
}
