/** A turn of the model: what it thought, what it said, what it asks for. */

import { useState } from "react";

import { Icon } from "../../parts/Icon";
import type { ViewOf } from "../step";
import { Text } from "../Text";
import { Address } from "./Blocks";

const CUT_SHORT = new Set(["length", "max_output_tokens", "max_tokens", "MAX_TOKENS"]);
const THOUGHT_LINES = 4;

export function TurnBody({ step }: { step: ViewOf<"turn"> }) {
  const isSilent = step.content === null && step.reasoning === null && step.refusal === null && !step.calls.length;
  return (
    <>
      {step.reasoning === null ? null : <Reasoning step={step} />}
      {step.content === null ? null : <Text words={step.content} className="turn-content" />}
      {step.refusal === null ? null : (
        <div className="step-error">
          <span className="label">Refused</span>
          <Text words={step.refusal} />
        </div>
      )}
      {step.finish !== null && CUT_SHORT.has(step.finish) ? (
        <p className="step-note warn">
          <Icon name="error" size={13} /> The answer was cut off by its length ({step.finish}).
        </p>
      ) : null}
      {step.citations.length ? (
        <ol className="citations">
          {step.citations.slice(0, 50).map((citation, index) => (
            <li key={index}>
              <Address uri={citation.source} name={citation.title || citation.text.slice(0, 120)} />
            </li>
          ))}
        </ol>
      ) : null}
      {isSilent ? <span className="text-quiet">The model said nothing and called nothing.</span> : null}
    </>
  );
}

function Reasoning({ step }: { step: ViewOf<"turn"> }) {
  const [isOpen, setOpen] = useState(false);
  const words = step.reasoning;
  if (words === null) return null;
  const isLong = typeof words !== "string" || words.length > 360 || words.split("\n").length > THOUGHT_LINES;
  return (
    <div className={`reasoning${isOpen || !isLong ? " open" : ""}`}>
      <div className="reasoning-text">
        <Text words={words} lines={isOpen ? 200 : 12} />
      </div>
      {isLong ? (
        <button type="button" className="text-more" onClick={() => setOpen(!isOpen)} aria-expanded={isOpen}>
          {isOpen ? "Less of the reasoning" : "All of the reasoning"}
        </button>
      ) : null}
    </div>
  );
}
