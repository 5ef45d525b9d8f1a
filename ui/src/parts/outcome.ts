/** How runs end, in words: what was graded, and which boundary broke where nothing was. */

import type { Outcome, Run } from "../api/types";

interface Ending {
  short: string;
  tone: "good" | "bad" | "warn" | "accent" | "";
  says: string;
}

const BROKE: Record<Exclude<Outcome, "graded">, Ending> = {
  environment: { short: "environment", tone: "bad", says: "The environment broke." },
  capability: { short: "capability", tone: "bad", says: "A capability (shell, browser, screen, tools) broke." },
  agent: { short: "agent", tone: "bad", says: "The agent's own program failed; not the model, not the task." },
  model: { short: "model", tone: "bad", says: "The model's API failed." },
  runtime: { short: "runtime", tone: "bad", says: "The place that the run was to happen in could not be had." },
  grader: { short: "grader", tone: "bad", says: "The grader failed." },
  timeout: { short: "timeout", tone: "warn", says: "The time for the whole run was up." },
  cancelled: { short: "cancelled", tone: "warn", says: "It was cancelled, by a person or by the job's budget." },
};

export function endingOf(run: Pick<Run, "status" | "outcome" | "invalid_reason">): Ending {
  if (run.invalid_reason !== null) return { short: "invalid", tone: "warn", says: `Marked as not counting: ${run.invalid_reason}` };
  if (run.outcome === "graded") return { short: "graded", tone: "good", says: "The run was graded." };
  if (run.outcome !== null) return BROKE[run.outcome] ?? { short: run.outcome, tone: "bad", says: "The run was not graded." };
  if (run.status === "pending") return { short: "waiting", tone: "", says: "The run waits for a worker of the platform." };
  if (run.status === "running") return { short: "running", tone: "accent", says: "The run is going on." };
  if (run.status === "interrupted") return { short: "interrupted", tone: "warn", says: "The run never ended, and nobody works on it any more." };
  return { short: run.status, tone: "", says: `The run is ${run.status}.` };
}

const STOPPED: Record<string, string> = {
  done: "finished by itself",
  max_steps: "used up its steps",
  length: "cut off by the length of an answer",
  max_tokens: "used up its tokens",
  max_cost: "used up its money",
  timeout: "ran out of time",
  malformed_tool_call: "wrote a tool call that cannot be read",
  context_overflow: "filled its context",
};

export function stopped(reason: string): string {
  return STOPPED[reason] ?? reason.replaceAll("_", " ");
}

const STEPS = 10;

/** The class that colours a reward: `r0` to `r10`; above 1 and below 0 as the ends. */
export function rewardClass(reward: number): string {
  const within = Math.min(1, Math.max(0, reward));
  return `r${Math.round(within * STEPS)}`;
}
