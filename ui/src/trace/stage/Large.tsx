/** A screen as large as the window allows. */

import { useEffect } from "react";

import { Dialog } from "../../parts/Dialog";
import type { Acts, Point } from "../actions";
import { Screen } from "./ScreenStage";

interface LargeProps {
  url: string | null;
  acts: Acts | null;
  near: Point | undefined;
  title: string;
  onClose: () => void;
  onStep: (by: number) => void;
}

export function Large({ url, acts, near, title, onClose, onStep }: LargeProps) {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "ArrowRight") onStep(1);
      if (event.key === "ArrowLeft") onStep(-1);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  });
  return (
    <Dialog title={title.slice(0, 200)} onClose={onClose} className="large">
      <div className="screen-frame">
        <Screen url={url} acts={acts} near={near} />
      </div>
    </Dialog>
  );
}
