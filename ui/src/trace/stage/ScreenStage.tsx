/** The screen as it was at a step, what was done to it drawn on it, and all screens of the run to scrub through. */

import { useEffect, useMemo, useState } from "react";

import { Icon } from "../../parts/Icon";
import { useShortcuts } from "../../parts/keys";
import type { Acts, Point } from "../actions";
import { blobUrl } from "../blobs";
import { Marks } from "../cards/Marks";
import { Drawn } from "../Drawn";
import { type TraceSource, useSource } from "../source";
import type { Block, StepView } from "../step";
import { Line } from "../Text";
import { Filmstrip } from "./Filmstrip";
import { Large } from "./Large";
import { hasPicture, lastAt, usePlaces } from "./places";
import { usePlay } from "./usePlay";

/** Wider than most screens: they are drawn as they were. */
const WIDEST_PX = 2_560;

interface ScreenStageProps {
  source: TraceSource;
  cursor: number;
  onGo: (place: number) => void;
}

export function ScreenStage({ source, cursor, onGo }: ScreenStageProps) {
  const version = useSource(source);
  const places = usePlaces(source, hasPicture);
  const index = Math.max(0, lastAt(places, cursor));
  const place = places[index];
  const [isBefore, setBefore] = useState(false);
  const [isLarge, setLarge] = useState(false);
  const [plays, setPlays] = usePlay(source, places, index, onGo);
  const previous = places[index - 1];
  useEffect(() => {
    if (place !== undefined) source.want(place, place);
    if (previous !== undefined) source.want(previous, previous);
  }, [source, place, previous]);
  const go = (by: number) => {
    const next = places[Math.min(places.length - 1, Math.max(0, index + by))];
    if (next !== undefined) onGo(next);
  };
  useShortcuts({ ArrowRight: () => go(1), ArrowLeft: () => go(-1), b: () => setBefore(!isBefore), f: () => setLarge(!isLarge) });
  if (place === undefined) return <p className="stage-note">No picture was recorded.</p>;
  const step = source.view(place);
  const acts = step?.kind === "screen" ? step.acts : null;
  const isActed = acts !== null && acts.acts.some((act) => act.kind !== "look" && act.kind !== "wait");
  const canBefore = isActed && previous !== undefined;
  const shown = isBefore && canBefore ? previous : place;
  const url = pictureOf(source, shown);
  const near = useMemo(() => lastPlaceOf(source, places, index), [source, places, index, version]);
  const says = acts ? acts.acts.map((act) => act.says).join(", ") : (source.line(place)?.title ?? "");
  return (
    <div className="screen-stage">
      <div className="screen-bar">
        <span className="screen-says" title={says}>
          <Line>{says}</Line>
        </span>
        <span className="segmented" role="group" aria-label="Which moment">
          <button type="button" aria-pressed={shown !== place} disabled={!canBefore} onClick={() => setBefore(true)} title="The screen it was done to (b)">
            before
          </button>
          <button type="button" aria-pressed={shown === place} onClick={() => setBefore(false)} title="The screen that came of it (b)">
            after
          </button>
        </span>
        <button type="button" className="icon-button" onClick={() => setLarge(true)} title="Large (f)" aria-label="Show large">
          <Icon name="expand" size={14} />
        </button>
      </div>
      <button type="button" className="screen-frame" onClick={() => setLarge(true)} aria-label="Show the screen large">
        <Screen url={url} acts={acts} near={near} />
      </button>
      <div className="screen-controls">
        <button type="button" className="icon-button" onClick={() => setPlays(!plays)} aria-label={plays ? "Pause" : "Play"} title={plays ? "Pause" : "Play"}>
          <Icon name={plays ? "pause" : "play"} size={14} />
        </button>
        <input
          type="range"
          min={0}
          max={Math.max(0, places.length - 1)}
          value={index}
          onChange={(event) => {
            const to = places[Number(event.target.value)];
            if (to !== undefined) onGo(to);
          }}
          aria-label="Screens of the run"
          aria-valuetext={`Screen ${index + 1} of ${places.length}: ${says}`}
        />
        <span className="number screen-count">
          {index + 1} / {places.length}
        </span>
      </div>
      <Filmstrip source={source} places={places} index={index} onGo={onGo} />
      {isLarge ? <Large url={url} acts={acts} near={near} title={says} onClose={() => setLarge(false)} onStep={go} /> : null}
    </div>
  );
}

/** What is drawn on it comes with the picture it belongs to. */
export function Screen({ url, acts, near }: { url: string | null; acts: Acts | null; near?: Point | undefined }) {
  const [shown, setShown] = useState<{ url: string; width: number; height: number } | null>(null);
  const [marks, setMarks] = useState<Acts | null>(null);
  const [broken, setBroken] = useState<string | null>(null);
  const isThere = shown !== null && shown.url === url;
  useEffect(() => {
    if (isThere) setMarks(acts);
  }, [isThere, acts]);
  const drawn = isThere ? acts : marks;
  return (
    <>
      {url === null ? null : (
        <Drawn
          url={url}
          className="screen-picture"
          label={drawn?.acts.map((act) => act.says).join(", ") || "Screen"}
          widest={WIDEST_PX}
          onDrawn={(size) => {
            setShown({ url, ...size });
            setBroken(null);
          }}
          onBroken={() => setBroken(url)}
        />
      )}
      {shown && broken !== url ? <Marks acts={drawn ?? { unit: "pixel", acts: [] }} size={shown} near={near} /> : null}
      {broken !== null && broken === url ? <span className="screen-broken">A picture that no browser can read.</span> : null}
    </>
  );
}

const LOOKED_BACK = 6;

/** Where something was done last before a screen: text typed now went there. */
function lastPlaceOf(source: TraceSource, places: number[], index: number): Point | undefined {
  for (const place of places.slice(Math.max(0, index - LOOKED_BACK), index).reverse()) {
    const step = source.view(place);
    const act = step?.kind === "screen" ? step.acts?.acts.findLast((one) => one.at ?? one.path?.length) : undefined;
    if (act) return act.at ?? act.path?.at(-1);
  }
  return undefined;
}

/** The address of the last picture of a step. */
export function pictureOf(source: TraceSource, place: number): string | null {
  const blob = source.line(place)?.image;
  if (blob) return blobUrl(blob);
  const step = source.view(place);
  return step ? lastPicture(step) : null;
}

function lastPicture(step: StepView): string | null {
  const blocks: Block[] = step.kind === "prompt" ? step.messages.map((message) => message.block) : "blocks" in step ? step.blocks : [];
  const picture = blocks.findLast((block) => block.kind === "picture");
  return picture?.kind === "picture" ? picture.media.url : null;
}
