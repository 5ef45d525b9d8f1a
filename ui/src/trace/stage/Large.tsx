/** A screen as large as the window allows. */

import { useEffect } from "react";

import { Dialog } from "../../parts/Dialog";
import type { Acts } from "../actions";
import { Screen } from "./ScreenStage";

interface LargeProps {
  url: string | null;
  acts: Acts | null;
  title: string;
  onClose: () => void;
  onStep: (by: number) => void;
}

export function Large({ url, acts, title, onClose, onStep }: LargeProps) {
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
        <Screen url={url} acts={acts} />
      </div>
    </Dialog>
  );
}
