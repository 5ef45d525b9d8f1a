/** A job in figures: its mean and how sure it is, what was not graded and why, how rewards lie, what it used. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { get } from "../api/http";
import type { JobDetail, Run } from "../api/types";
import { compact, count, dollars, duration, percent, reward } from "../parts/format";
import { Mean } from "../parts/Mean";
import { rewardClass } from "../parts/outcome";
import { Line } from "../trace/Text";
import { distribution } from "./useRuns";
import "./summary.css";

export function scorecardQuery(jobId: string) {
  return {
    queryKey: ["scorecard", jobId],
    queryFn: ({ signal }: { signal: AbortSignal }) => get("/v2/jobs/{job_id}/scorecard", { path: { job_id: jobId }, signal }),
  };
}

export function Summary({ job, runs }: { job: JobDetail; runs: readonly Run[] }) {
  const { data: card } = useQuery(scorecardQuery(job.id));
  const { counts } = job;
  const statistics = card?.statistics;
  const isOpen = counts.lower_bound !== null && counts.upper_bound !== null && counts.upper_bound - counts.lower_bound > 1e-9;
  const passes = Object.entries(statistics?.pass_at_k ?? {}).filter((one): one is [string, number] => one[1] !== null);
  return (
    <>
    <section className="summary" aria-label="Figures">
      <div className="panel figure">
        <span className="label">Mean reward</span>
        {counts.mean_reward === null ? (
          <strong className="figure-main quiet">–</strong>
        ) : (
          <>
            <strong className="figure-main">{reward(counts.mean_reward)}</strong>
            <Mean mean={counts.mean_reward} interval={statistics?.interval_95 ?? null} bounds={isOpen ? [counts.lower_bound ?? 0, counts.upper_bound ?? 1] : null} />
          </>
        )}
        <span className="figure-note">
          {statistics?.interval_95 ? `95% interval ${reward(statistics.interval_95[0])} – ${reward(statistics.interval_95[1])}` : counts.graded ? "Too few tasks for an interval" : "Nothing is graded yet"}
          {isOpen ? <span>Ungraded as 0 or 1: {reward(counts.lower_bound ?? 0)} – {reward(counts.upper_bound ?? 1)}</span> : null}
        </span>
      </div>
      <div className="panel figure">
        <span className="label">Coverage</span>
        <strong className="figure-main">{counts.coverage === null ? "–" : percent(counts.coverage)}</strong>
        <span className="figure-note">
          {count(counts.graded)} of {count(counts.runs - counts.invalid)} graded{counts.attempts > counts.runs ? `, ${count(counts.attempts)} attempts` : ""}
        </span>
        <ul className="causes">
          {counts.running ? <li className="badge accent"><span className="pulse" />{count(counts.running)} {job.status === "running" ? "running" : "left behind"}</li> : null}
          {Object.entries(counts.ungraded).map(([cause, times]) => (
            <li key={cause}>
              <Link to="/jobs/$jobId" params={{ jobId: job.id }} search={{ view: "runs", outcome: cause }} className="badge bad">
                {count(times)} {cause}
              </Link>
            </li>
          ))}
          {counts.invalid ? <li className="badge warn">{count(counts.invalid)} invalid</li> : null}
        </ul>
      </div>
      <div className="panel figure">
        <span className="label">Rewards</span>
        <Histogram bins={distribution(runs)} />
      </div>
      {passes.length > 1 ? (
        <div className="panel figure">
          <span className="label">Solved in k tries</span>
          <dl className="figure-list">
            {passes.map(([k, value]) => (
              <div key={k}>
                <dt>pass@{k}</dt>
                <dd className="number">{percent(value)}</dd>
              </div>
            ))}
            {statistics?.success_rate == null ? null : (
              <div>
                <dt>per run</dt>
                <dd className="number">{percent(statistics.success_rate)}</dd>
              </div>
            )}
          </dl>
        </div>
      ) : null}
      <div className="panel figure">
        <span className="label">Used</span>
        <strong className="figure-main">{spent(job)}</strong>
        <dl className="figure-list">
          <div>
            <dt>tokens</dt>
            <dd className="number">
              {compact(job.used.prompt_tokens)} → {compact(job.used.completion_tokens)}
            </dd>
          </div>
          <div>
            <dt>model calls</dt>
            <dd className="number">{count(job.used.llm_calls)}</dd>
          </div>
          {card?.used.wall_s ? (
            <div>
              <dt>worked</dt>
              <dd className="number">{duration(card.used.wall_s)}</dd>
            </div>
          ) : null}
        </dl>
      </div>
    </section>
      {card?.faults.length ? (
        <section className="panel figure wide">
          <span className="label">What broke</span>
          <ul className="faults">
            {card.faults.slice(0, 6).map((fault) => (
              <li key={fault.cause + fault.sentence}>
                <span className="number">{count(fault.count)}×</span>
                <span className="badge bad">{fault.cause}</span>
                <span className="faults-text">
                  <Line>{fault.sentence}</Line>
                </span>
              </li>
            ))}
          </ul>
        </section>
      ) : null}
    </>
  );
}

function spent(job: JobDetail): string {
  if (!job.used.llm_calls) return "no model";
  if (job.used.cost_usd !== null) return dollars(job.used.cost_usd);
  return job.used.known_cost_usd ? `≥ ${dollars(job.used.known_cost_usd)}` : "cost unknown";
}

function Histogram({ bins }: { bins: number[] }) {
  const most = Math.max(1, ...bins);
  return (
    <div className="histogram" role="img" aria-label={`Rewards: ${bins.map((value, bin) => (value ? `${value} at ${(bin / 10).toFixed(1)}` : "")).filter(Boolean).join(", ") || "none yet"}`}>
      <div className="histogram-bars">
        {bins.map((value, bin) => (
          <span key={bin} title={`${count(value)} around ${(bin / 10).toFixed(1)}`}>
            {value ? <i className="number">{compact(value)}</i> : null}
            <b className={rewardClass(bin / 10)} style={{ height: `${value ? Math.max(4, (value / most) * 100) : 0}%` }} />
          </span>
        ))}
      </div>
      <div className="histogram-axis number">
        <span>0</span>
        <span>0.5</span>
        <span>1</span>
      </div>
    </div>
  );
}
