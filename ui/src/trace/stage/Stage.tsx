/** The environment beside the timeline, as it was at the step that is looked at: screen, terminal, files, robot. */

import { lazy, Suspense } from "react";

import { Fence, Failure } from "../../parts/Failure";
import { Icon, type IconName } from "../../parts/Icon";
import type { TraceSource } from "../source";
import type { ScreenState } from "../useScreens";
import { ScreenStage } from "./ScreenStage";
import "./stage.css";

const LiveStage = lazy(() => import("./LiveStage").then((module) => ({ default: module.LiveStage })));
const TerminalStage = lazy(() => import("./TerminalStage").then((module) => ({ default: module.TerminalStage })));
const FilesStage = lazy(() => import("./FilesStage").then((module) => ({ default: module.FilesStage })));
const RobotStage = lazy(() => import("./RobotStage").then((module) => ({ default: module.RobotStage })));

export type StageName = "live" | "screen" | "terminal" | "files" | "robot";

export const STAGES: Record<StageName, { label: string; icon: IconName }> = {
  live: { label: "Live", icon: "eye" },
  screen: { label: "Screen", icon: "screen" },
  terminal: { label: "Terminal", icon: "shell" },
  files: { label: "Files", icon: "files" },
  robot: { label: "Robot", icon: "robot" },
};

interface StageProps {
  runId: string;
  screens: ScreenState | null;
  source: TraceSource;
  cursor: number;
  stages: StageName[];
  current: StageName;
  onStage: (name: StageName) => void;
  onGo: (place: number) => void;
  onClose: () => void;
}

export function Stage({ runId, screens, source, cursor, stages, current, onStage, onGo, onClose }: StageProps) {
  return (
    <aside className="stage" aria-label="The environment at this step">
      <header className="stage-head">
        <div className="tabs" role="tablist">
          {stages.map((name) => (
            <button key={name} type="button" role="tab" aria-selected={name === current} onClick={() => onStage(name)}>
              <Icon name={STAGES[name].icon} size={14} />
              {STAGES[name].label}
            </button>
          ))}
        </div>
        <button type="button" className="icon-button" onClick={onClose} aria-label="Close the stage (s)" title="Close (s)">
          <Icon name="close" size={14} />
        </button>
      </header>
      <Fence of={current} fallback={(error) => <div className="stage-note"><Failure error={error} /></div>}>
        <Suspense fallback={<div className="stage-note">Loading…</div>}>
          {current === "live" ? <LiveStage runId={runId} screens={screens} /> : null}
          {current === "screen" ? <ScreenStage source={source} cursor={cursor} onGo={onGo} /> : null}
          {current === "terminal" ? <TerminalStage source={source} cursor={cursor} onGo={onGo} /> : null}
          {current === "files" ? <FilesStage source={source} cursor={cursor} /> : null}
          {current === "robot" ? <RobotStage source={source} cursor={cursor} onGo={onGo} /> : null}
        </Suspense>
      </Fence>
    </aside>
  );
}
