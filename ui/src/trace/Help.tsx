/** The keys of the trace page. */

import { Dialog } from "../parts/Dialog";

const KEYS: [string[], string][] = [
  [["j", "k"], "next step, step before"],
  [["Enter"], "open or close the step"],
  [["Shift", "J"], "next turn of the model; Shift K the one before"],
  [["g", "G"], "first step, last step"],
  [["e"], "next error"],
  [["/"], "search in the run"],
  [["n", "N"], "next, previous match"],
  [["x"], "close or open all steps"],
  [["r"], "the step as it was recorded"],
  [["y"], "copy a link to the step"],
  [["o"], "show or hide the outline"],
  [["s"], "show or hide the stage"],
  [["1", "…", "4"], "screen, terminal, files, robot"],
  [["l"], "the screen of a run that goes on, live"],
  [["←", "→"], "screen before, next screen"],
  [["b"], "the screen before the action, or after it"],
  [["f"], "the screen, large"],
  [["["," ]"], "run before, next run of the job"],
  [["?"], "these keys"],
];

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl className="help">
        {KEYS.map(([keys, says]) => (
          <div key={says}>
            <dt>
              {keys.map((key) => (
                <kbd key={key} className="kbd">
                  {key.trim()}
                </kbd>
              ))}
            </dt>
            <dd>{says}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
