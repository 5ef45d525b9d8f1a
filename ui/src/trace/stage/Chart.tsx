/** Lines over ticks, with the tick that is looked at; a click goes to another. */

import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { useTheme } from "../../parts/theme";
import { Line } from "../Text";
import type { Plot } from "./episode";

const HEIGHT = 132;
const HUES = [262, 25, 150, 75, 320, 205, 105, 290, 50, 180, 350, 230];

interface ChartProps {
  plot: Plot;
  ticks: number[];
  tick: number;
  onTick: (tick: number) => void;
}

export function Chart({ plot, ticks, tick, onTick }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const current = useRef(tick);
  current.current = tick;
  const go = useRef(onTick);
  go.current = onTick;
  const theme = useTheme();
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const quiet = colourOf(element, "var(--text-3)");
    const line = colourOf(element, "var(--line)");
    const mark = colourOf(element, "var(--accent)");
    const made = new uPlot(
      {
        width: Math.max(120, element.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { x: { time: false } },
        axes: [
          { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "10px Inter", size: 20, gap: 2 },
          { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "10px Inter", size: 44, gap: 3 },
        ],
        series: [{}, ...plot.labels.map((_, index) => ({ stroke: seriesColour(element, index), width: 1.5, points: { show: false }, spanGaps: false }))],
        hooks: {
          draw: [
            (self) => {
              const x = self.valToPos(current.current, "x", true);
              const { top, height } = self.bbox;
              self.ctx.save();
              self.ctx.strokeStyle = mark;
              self.ctx.lineWidth = 1.5 * devicePixelRatio;
              self.ctx.beginPath();
              self.ctx.moveTo(x, top);
              self.ctx.lineTo(x, top + height);
              self.ctx.stroke();
              self.ctx.restore();
            },
          ],
        },
      },
      [ticks, ...plot.series] as uPlot.AlignedData,
      element,
    );
    chart.current = made;
    const onClick = () => {
      const index = made.cursor.idx;
      if (index != null) go.current(ticks[index] ?? 0);
    };
    made.over.addEventListener("click", onClick);
    const watcher = new ResizeObserver(() => made.setSize({ width: Math.max(120, element.clientWidth), height: HEIGHT }));
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [plot, ticks, theme]);
  useEffect(() => {
    chart.current?.redraw(false);
  }, [tick]);
  return (
    <div className="robot-plot">
      <h3>
        <Line>{plot.name}</Line> <span className="label">{plot.unit}</span>
      </h3>
      <ul className="robot-legend">
        {plot.labels.map((label, index) => {
          const value = plot.series[index]?.[tick];
          return (
            <li key={index}>
              <i style={{ backgroundColor: spelledColour(index) }} />
              <Line>{label}</Line> <span className="number">{value == null ? "–" : Number(value.toPrecision(5))}</span>
            </li>
          );
        })}
      </ul>
      <div ref={box} className="robot-chart" />
    </div>
  );
}

function spelledColour(index: number): string {
  const hue = HUES[index % HUES.length] ?? 0;
  return `light-dark(oklch(0.55 0.17 ${hue}), oklch(0.74 0.14 ${hue}))`;
}

function seriesColour(element: HTMLElement, index: number): string {
  return colourOf(element, spelledColour(index));
}

/** A colour as a canvas takes it: what the browser makes of it here. */
function colourOf(element: HTMLElement, colour: string): string {
  const probe = document.createElement("i");
  probe.style.color = colour;
  element.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
