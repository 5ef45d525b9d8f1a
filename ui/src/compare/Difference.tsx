/** How far apart two means are, first less second: drawn towards the side that is better, as they stand in the table. */

import "./difference.css";

interface DifferenceProps {
  difference: number | null;
  interval: [number, number] | null;
  /** Which side is better, where that can be told. */
  better: "first" | "second" | null;
  scale?: number;
}

export function signed(value: number): string {
  if (Math.abs(value) < 5e-4) return "0";
  return `${value > 0 ? "+" : "−"}${Math.abs(value).toFixed(3).replace(/0{1,2}$/, "")}`;
}

export function Difference({ difference, interval, better, scale = 1 }: DifferenceProps) {
  if (difference === null) return <span className="quiet">no task in common</span>;
  const at = (value: number) => `${50 - Math.min(50, Math.max(-50, (value / scale) * 50))}%`;
  const tone = better ?? "even";
  const says = `difference ${signed(difference)}${interval ? `, 95% interval ${signed(interval[0])} to ${signed(interval[1])}` : ""}`;
  return (
    <span className={`difference ${tone}`} role="img" aria-label={says} title={says}>
      <i className="difference-zero" />
      {interval ? <i className="difference-interval" style={{ left: at(interval[1]), right: `calc(100% - ${at(interval[0])})` }} /> : null}
      <i className="difference-dot" style={{ left: at(difference) }} />
    </span>
  );
}
