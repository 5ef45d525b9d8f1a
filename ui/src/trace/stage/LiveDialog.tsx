/** The screens of a run in a window of their own, where there is no room beside the timeline. */

import { lazy, Suspense } from "react";

import { Dialog } from "../../parts/Dialog";
import type { ScreenState } from "../useScreens";

const LiveStage = lazy(() => import("./LiveStage").then((module) => ({ default: module.LiveStage })));

export function LiveDialog({ runId, screens, onClose }: { runId: string; screens: ScreenState | null; onClose: () => void }) {
  return (
    <Dialog title="As it is now" onClose={onClose} className="live-dialog">
      <Suspense fallback={<div className="stage-note">Loading…</div>}>
        <LiveStage runId={runId} screens={screens} />
      </Suspense>
    </Dialog>
  );
}
