/** All runs of a job, page by page as they come, and then as they change. */

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";

import { get } from "../api/http";
import { follow } from "../api/live";
import { firstRunsQuery, jobQuery, queries } from "../api/queries";
import type { Job, Run } from "../api/types";

const PAGE = 1000;
const FIRST_PAGE = 200;
const SETTLE_MS = 100;

export interface Runs {
  all: Run[];
  total: number;
  isComplete: boolean;
  error: unknown;
  reload: () => void;
}

export function useRuns(jobId: string): Runs {
  const client = useQueryClient();
  const [state, setState] = useState<{ runs: Map<string, Run>; total: number; isComplete: boolean; error: unknown }>(() => ({ runs: new Map(), total: 0, isComplete: false, error: null }));
  const [round, setRound] = useState(0);
  useEffect(() => {
    const ending = new AbortController();
    const held = new Map<string, Run>();
    let timer: ReturnType<typeof setTimeout> | null = null;
    let total = 0;
    let isComplete = false;
    const show = (error: unknown = null) => setState({ runs: new Map(held), total: Math.max(total, held.size), isComplete, error });
    const load = async () => {
      let cursor: string | null = "";
      let limit = FIRST_PAGE;
      try {
        do {
          const page: { items: Run[]; total: number; next_cursor: string | null } = await get("/v2/jobs/{job_id}/traces", {
            path: { job_id: jobId },
            query: { limit, ...(cursor ? { cursor } : {}) },
            signal: ending.signal,
          });
          for (const run of page.items) held.set(run.id, run);
          total = page.total;
          cursor = page.next_cursor;
          limit = PAGE;
          isComplete = cursor === null;
          show();
        } while (cursor !== null);
      } catch (error) {
        if (!ending.signal.aborted) show(error);
      }
    };
    // Something to see until it is certain that no change is missed.
    void queries.fetchQuery(firstRunsQuery(jobId)).then(
      (page) => {
        if (ending.signal.aborted || held.size) return;
        for (const run of page.items) held.set(run.id, run);
        total = page.total;
        show();
      },
      () => undefined,
    );
    let isFirst = true;
    const stop = follow({
      url: `/v2/jobs/${jobId}/events`,
      onEvent: (event) => {
        if (event.kind === "ready") {
          if (isFirst) void load();
          isFirst = false;
        } else if (event.kind === "reset") {
          void load();
        } else if (event.kind === "run") {
          const run = event.data as Run;
          held.set(run.id, run);
          timer ??= setTimeout(() => {
            timer = null;
            show();
          }, SETTLE_MS);
        } else if (event.kind === "job") {
          const job = event.data as Job;
          client.setQueryData(jobQuery(jobId).queryKey, (before) => (before ? { ...before, ...job } : before));
          if (job.status !== "running") void client.invalidateQueries({ queryKey: ["scorecard", jobId] });
        }
      },
      onState: (now) => {
        if (now === "refused" && isFirst) void load();
      },
    });
    return () => {
      ending.abort();
      stop();
      if (timer) clearTimeout(timer);
    };
  }, [jobId, client, round]);
  return useMemo(
    () => ({ all: [...state.runs.values()], total: state.total, isComplete: state.isComplete, error: state.error, reload: () => setRound((one) => one + 1) }),
    [state],
  );
}

/** The runs that count: of every member the latest attempt. */
export function members(runs: readonly Run[]): Run[] {
  const latest = new Map<string, Run>();
  for (const run of runs) {
    const key = `${run.task_slug}\n${run.member}`;
    const held = latest.get(key);
    if (!held || run.attempt > held.attempt || (run.attempt === held.attempt && run.start_time > held.start_time)) latest.set(key, run);
  }
  return [...latest.values()];
}

export interface TaskRow {
  slug: string;
  /** By member; holes where nothing was begun. */
  runs: (Run | undefined)[];
  mean: number | null;
  graded: number;
}

export function taskRows(runs: readonly Run[]): TaskRow[] {
  const rows = new Map<string, TaskRow>();
  for (const run of runs) {
    let row = rows.get(run.task_slug);
    if (!row) rows.set(run.task_slug, (row = { slug: run.task_slug, runs: [], mean: null, graded: 0 }));
    row.runs[run.member] = run;
  }
  for (const row of rows.values()) {
    const rewards = row.runs.flatMap((run) => (run && run.reward !== null && run.invalid_reason === null ? [run.reward] : []));
    row.graded = rewards.length;
    row.mean = rewards.length ? rewards.reduce((sum, one) => sum + one, 0) / rewards.length : null;
  }
  return [...rows.values()].sort((one, other) => (one.slug < other.slug ? -1 : 1));
}

/** How many rewards lie where: eleven bins around 0.0, 0.1, … 1.0. */
export function distribution(runs: readonly Run[]): number[] {
  const bins = Array.from({ length: 11 }, () => 0);
  for (const run of runs) {
    if (run.reward === null || run.invalid_reason !== null) continue;
    const bin = Math.round(Math.min(1, Math.max(0, run.reward)) * 10);
    bins[bin] = (bins[bin] ?? 0) + 1;
  }
  return bins;
}
