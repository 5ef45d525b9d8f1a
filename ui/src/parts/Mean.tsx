/** A mean of rewards with what it leaves open: drawn from 0 to 1, the bounds and the interval with it. */

import { reward } from "./format";
import { rewardClass } from "./outcome";
import "./mean.css";
import "./reward.css";

interface MeanProps {
  mean: number | null;
  /** If everything ungraded were 0, and if it were 1. */
  bounds?: [number, number] | null;
  interval?: [number, number] | null;
}

const at = (value: number): string => `${Math.min(1, Math.max(0, value)) * 100}%`;

export function Mean({ mean, bounds = null, interval = null }: MeanProps) {
  if (mean === null) return <span className="quiet">–</span>;
  const isOpen = bounds !== null && bounds[1] - bounds[0] > 1e-9;
  const says = [
    `mean ${reward(mean)}`,
    interval ? `95% interval ${reward(interval[0])} to ${reward(interval[1])}` : null,
    isOpen ? `between ${reward(bounds[0])} and ${reward(bounds[1])}, as the ungraded ones would have come out` : null,
  ].filter(Boolean);
  return (
    <span className={`mean ${rewardClass(mean)}`} title={says.join("; ")}>
      <span className="mean-value">{reward(mean)}</span>
      <span className="mean-track" aria-hidden="true">
        {isOpen ? <span className="mean-bounds" style={{ left: at(bounds[0]), right: `calc(100% - ${at(bounds[1])})` }} /> : null}
        {interval ? <span className="mean-interval" style={{ left: at(interval[0]), right: `calc(100% - ${at(interval[1])})` }} /> : <span className="mean-fill" style={{ width: at(mean) }} />}
        <span className="mean-dot" style={{ left: at(mean) }} />
      </span>
    </span>
  );
}
