/** What was done, drawn on the picture it was done to: clicks, drags, scrolls, typed text, keys. */

import type { Act, Acts, Point } from "../actions";
import "./marks.css";

interface Size {
  width: number;
  height: number;
}

/** `near` is where something was done last, for text that was typed there. */
export function Marks({ acts, size, near }: { acts: Acts; size: Size; near?: Point | undefined }) {
  const scale = Math.max(size.width, size.height) / 1000;
  const onto = (point: Point): Point => (acts.unit === "pixel" ? point : { x: (point.x * size.width) / 1000, y: (point.y * size.height) / 1000 });
  let last: Point | undefined = near && onto(near);
  let number = 0;
  const placed = acts.acts.filter((act) => act.at ?? act.path?.length).length;
  const drawn = acts.acts.map((act, index) => {
    const where = act.at ? onto(act.at) : undefined;
    const path = act.path?.map(onto) ?? [];
    if (where || path.length) number += 1;
    last = where ?? path.at(-1) ?? last;
    return <Mark key={index} act={act} at={where} path={path} near={last} scale={scale} size={size} number={placed > 1 ? number : null} />;
  });
  return (
    <svg className="marks" viewBox={`0 0 ${size.width} ${size.height}`} aria-hidden="true">
      {drawn}
    </svg>
  );
}

interface MarkProps {
  act: Act;
  at: Point | undefined;
  path: Point[];
  near: Point | undefined;
  scale: number;
  size: Size;
  number: number | null;
}

function Mark({ act, at, path, near, scale, size, number }: MarkProps) {
  switch (act.kind) {
    case "click":
      return at ? <Target at={at} scale={scale} rings={act.times ?? 1} button={act.button ?? "left"} number={number} /> : null;
    case "move":
    case "other":
      return at ? <Target at={at} scale={scale} rings={0} button="left" number={number} /> : null;
    case "drag":
      return <Drag path={path} scale={scale} />;
    case "scroll":
      return <Scroll at={at ?? { x: size.width / 2, y: size.height / 2 }} by={act.direction ?? { x: 0, y: 1 }} scale={scale} />;
    case "type":
      return act.text ? <Tag text={act.text} near={near} scale={scale} size={size} /> : null;
    case "key":
      return act.text ? <Tag text={act.text} near={near} scale={scale} size={size} isKey /> : null;
    case "look":
    case "wait":
    case "go":
    case "zoom":
      return null;
  }
}

function Target({ at, scale, rings, button, number }: { at: Point; scale: number; rings: number; button: string; number: number | null }) {
  return (
    <g className={`mark mark-${button}`}>
      {Array.from({ length: rings }, (_, ring) => (
        <circle key={ring} cx={at.x} cy={at.y} r={(15 + 9 * ring) * scale} className="mark-ring" strokeWidth={2.6 * scale} />
      ))}
      <circle cx={at.x} cy={at.y} r={(rings ? 4.4 : 7) * scale} className="mark-dot" strokeWidth={1.6 * scale} />
      {number === null ? null : (
        <text x={at.x + 13 * scale} y={at.y - 11 * scale} className="mark-number" fontSize={15 * scale} strokeWidth={4 * scale}>
          {number}
        </text>
      )}
    </g>
  );
}

function Drag({ path, scale }: { path: Point[]; scale: number }) {
  const [first, last] = [path[0], path.at(-1)];
  if (!first || !last) return null;
  const points = path.map((point) => `${point.x},${point.y}`).join(" ");
  return (
    <g className="mark mark-left">
      <polyline points={points} className="mark-halo" strokeWidth={7 * scale} />
      <polyline points={points} className="mark-path" strokeWidth={3 * scale} strokeDasharray={`${9 * scale} ${6 * scale}`} />
      <circle cx={first.x} cy={first.y} r={5 * scale} className="mark-dot" strokeWidth={1.6 * scale} />
      <circle cx={last.x} cy={last.y} r={12 * scale} className="mark-ring" strokeWidth={2.6 * scale} />
      <circle cx={last.x} cy={last.y} r={4 * scale} className="mark-dot" strokeWidth={1.6 * scale} />
    </g>
  );
}

function Scroll({ at, by, scale }: { at: Point; by: Point; scale: number }) {
  const turn = Math.atan2(by.y, by.x) * (180 / Math.PI) - 90;
  const [s, l] = [9 * scale, 26 * scale];
  return (
    <g className="mark mark-left" transform={`translate(${at.x} ${at.y}) rotate(${turn})`}>
      <path d={`M0 ${-l}V${l}M${-s} ${l - s}L0 ${l}L${s} ${l - s}`} className="mark-halo" strokeWidth={8 * scale} />
      <path d={`M0 ${-l}V${l}M${-s} ${l - s}L0 ${l}L${s} ${l - s}`} className="mark-path" strokeWidth={3.4 * scale} />
    </g>
  );
}

const TAG_CHARS = 36;

function Tag({ text, near, scale, size, isKey = false }: { text: string; near: Point | undefined; scale: number; size: Size; isKey?: boolean }) {
  const line = text.replaceAll("\n", "⏎");
  const shown = line.length > TAG_CHARS ? `${line.slice(0, TAG_CHARS)}…` : line;
  const height = 24 * scale;
  const width = (shown.length * 8.6 + 18) * scale;
  const anchor = near ?? { x: size.width / 2, y: size.height - 60 * scale };
  const x = Math.min(Math.max(4 * scale, anchor.x + 16 * scale), Math.max(4 * scale, size.width - width - 4 * scale));
  const y = anchor.y + (isKey ? 44 : 16) * scale;
  const top = y + height > size.height ? anchor.y - height - 16 * scale : y;
  return (
    <g className={isKey ? "mark-key" : "mark-type"}>
      <rect x={x} y={top} width={width} height={height} rx={5 * scale} strokeWidth={1.4 * scale} />
      <text x={x + 9 * scale} y={top + height * 0.69} fontSize={14.3 * scale}>
        {shown}
      </text>
    </g>
  );
}
