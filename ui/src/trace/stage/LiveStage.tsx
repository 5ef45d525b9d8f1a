/** The screens of a run while it goes on, one at a time; and in words why there is none to see. */

import { useCallback, useRef, useState } from "react";

import { Icon } from "../../parts/Icon";
import type { ScreenState } from "../useScreens";
import { Line } from "../Text";
import { LiveScreen } from "./LiveScreen";
import type { Watched } from "./watch";
import "./live.css";

interface LiveStageProps {
  runId: string;
  /** What was known last of the screens; kept by whoever shows this when the run ends. */
  screens: ScreenState | null;
}

const OVER = "This run is over. What its screen showed is on its steps.";

export function LiveStage({ runId, screens }: LiveStageProps) {
  const [name, setName] = useState<string | null>(null);
  const [watched, setWatched] = useState<Watched>({ state: "connecting" });
  const frame = useRef<HTMLDivElement>(null);
  const onState = useCallback((next: Watched) => setWatched(next), []);
  const items = screens?.screens ?? [];
  const screen = items.find((item) => item.name === name) ?? items[0];
  if (!screen)
    return (
      <p className="stage-note live-none" role="status">
        <Icon name="screen" size={14} /> {screens ? screens.says : OVER}
      </p>
    );
  const isLive = watched.state === "live";
  return (
    <div className="live-stage">
      <div className="screen-bar">
        <span className={`live-mark ${watched.state}`}>{MARKS[watched.state]}</span>
        {items.length > 1 ? (
          <span className="segmented" role="group" aria-label="Which screen">
            {items.map((item) => (
              <button key={item.name} type="button" aria-pressed={item === screen} onClick={() => setName(item.name)}>
                <Line>{item.name}</Line>
              </button>
            ))}
          </span>
        ) : null}
        <span className="screen-says quiet">view only</span>
        {document.fullscreenEnabled ? (
          <button type="button" className="icon-button" disabled={!isLive} onClick={() => void frame.current?.requestFullscreen()} title="The whole screen" aria-label="Show on the whole screen">
            <Icon name="expand" size={14} />
          </button>
        ) : null}
      </div>
      <div className={`live-frame ${watched.state}`} ref={frame}>
        <LiveScreen key={`${runId} ${screen.name}`} runId={runId} screen={screen} onState={onState} />
      </div>
      <p className="live-says" role="status">
        {"says" in watched ? <Line>{watched.says}</Line> : watched.state === "connecting" ? "Connecting to the screen…" : null}
      </p>
    </div>
  );
}

const MARKS: Record<Watched["state"], string> = { connecting: "connecting", live: "live", lost: "lost", ended: "ended" };
