/** The reward of a run, or why it has none: never a number that was not given. */

import type { Run } from "../api/types";
import { reward as spelled } from "./format";
import { Icon } from "./Icon";
import { endingOf, rewardClass } from "./outcome";
import "./reward.css";

type Ended = Pick<Run, "status" | "outcome" | "invalid_reason" | "reward">;

export function Reward({ run, large = false }: { run: Ended; large?: boolean }) {
  const ending = endingOf(run);
  const size = large ? " large" : "";
  if (run.reward !== null && run.invalid_reason === null) {
    return (
      <span className={`reward ${rewardClass(run.reward)}${size}`} title={`reward ${run.reward}`}>
        {spelled(run.reward)}
      </span>
    );
  }
  return (
    <span className={`badge ${ending.tone}${size}`} title={ending.says}>
      {run.status === "running" ? <span className="pulse" /> : null}
      {ending.tone === "bad" ? <Icon name="error" size={11} /> : null}
      {ending.short}
    </span>
  );
}
