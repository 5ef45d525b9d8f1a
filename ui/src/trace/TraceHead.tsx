/** What a run was and what came of it: the first thing to know of a trace. */

import { Link } from "@tanstack/react-router";

import type { RunDetail } from "../api/types";
import { compact, dollars, duration, secondsBetween, shortId } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Moment } from "../parts/Moment";
import { endingOf, stopped } from "../parts/outcome";
import { Reward } from "../parts/Reward";
import { Line } from "./Text";

export function TraceHead({ run, isLive, onGrade, children }: { run: RunDetail; isLive: boolean; onGrade: (() => void) | null; children: React.ReactNode }) {
  const took = secondsBetween(run.start_time, run.end_time);
  return (
    <header className="trace-head">
      <div className="trace-title">
        <nav className="crumbs" aria-label="Where this is">
          {run.job_id ? (
            <Link to="/jobs/$jobId" params={{ jobId: run.job_id }}>
              job {shortId(run.job_id)}
            </Link>
          ) : (
            <Link to="/jobs">jobs</Link>
          )}
          <Icon name="chevron" size={10} />
          <span className="mono">{shortId(run.id)}</span>
          {run.attempt > 1 ? <span className="badge">attempt {run.attempt}</span> : null}
        </nav>
        <h1>
          <Line>{run.task_slug || "A run without a task"}</Line>
        </h1>
      </div>
      {onGrade ? (
        <button type="button" className="to-grade" onClick={onGrade} title="How it was graded">
          <Reward run={run} large />
          <span className="visually-hidden">, how it was graded</span>
        </button>
      ) : (
        <Reward run={run} large />
      )}
      <dl className="trace-facts">
        {run.model ? (
          <Fact label="Model">
            <Line>{run.model}</Line>
          </Fact>
        ) : null}
        {run.env ? (
          <Fact label="Environment">
            <Line>{run.env}</Line>
          </Fact>
        ) : null}
        <Fact label={isLive && run.end_time === null ? "Began" : "When"}>
          <Moment iso={run.start_time} />
        </Fact>
        {took === null ? null : <Fact label="Took">{duration(took)}</Fact>}
        {run.turns ? <Fact label="Turns">{run.turns}</Fact> : null}
        {run.prompt_tokens || run.completion_tokens ? (
          <Fact label="Tokens" title={`${run.prompt_tokens} in, of them ${run.cached_tokens} from the cache; ${run.completion_tokens} out`}>
            {compact(run.prompt_tokens)} <span className="step-arrow">→</span> {compact(run.completion_tokens)}
          </Fact>
        ) : null}
        {run.llm_calls ? <Fact label="Cost">{cost(run)}</Fact> : null}
        {run.stop_reason && run.stop_reason !== "done" ? <Fact label="Stopped">{stopped(run.stop_reason)}</Fact> : null}
      </dl>
      <div className="trace-tools">{children}</div>
    </header>
  );
}

function cost(run: RunDetail): string {
  if (run.cost_usd !== null) return dollars(run.cost_usd);
  return run.known_cost_usd ? `≥ ${dollars(run.known_cost_usd)}` : "unknown";
}

function Fact({ label, title, children }: { label: string; title?: string; children: React.ReactNode }) {
  return (
    <div title={title}>
      <dt className="label">{label}</dt>
      <dd className="number">{children}</dd>
    </div>
  );
}

/** Why a run has no reward, where it has none. */
export function Verdict({ run, onError }: { run: RunDetail; onError: (() => void) | null }) {
  const ending = endingOf(run);
  if (run.status === "running" || run.status === "pending" || (run.outcome === "graded" && run.invalid_reason === null && !run.error)) return null;
  const isMild = run.outcome === "graded" && run.invalid_reason === null;
  return (
    <div className={`verdict ${isMild ? "warn" : ending.tone || "warn"}`}>
      <Icon name={run.invalid_reason === null ? "error" : "flag"} size={15} />
      <p>
        <strong>{isMild ? "Graded, though something failed." : run.outcome === "graded" ? "This run does not count." : `Not graded. ${ending.says}`}</strong>{" "}
        <Line>{run.invalid_reason ?? run.error ?? ""}</Line>
        {run.outcome !== null && run.outcome !== "graded" && run.invalid_reason === null ? <span className="verdict-note"> It counts neither as 0 nor as 1.</span> : null}
      </p>
      {onError ? (
        <button type="button" className="button small" onClick={onError}>
          Show where
        </button>
      ) : null}
    </div>
  );
}
