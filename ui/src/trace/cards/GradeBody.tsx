/** A grade as the tree it was made of: every subscore with its weight, its value, and the reason given for it. */

import { useState } from "react";

import { reward } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import { rewardClass } from "../../parts/outcome";
import { Json } from "../Json";
import type { Grade, Subscore } from "../step";
import { Line, Text } from "../Text";
import "./grade.css";

export function GradeBody({ grade, answer }: { grade: Grade; answer?: unknown }) {
  return (
    <div className="grade">
      {grade.isError ? <p className="step-note warn">The environment calls this grade an error.</p> : null}
      {grade.content === null ? null : <Text words={grade.content} />}
      {grade.subscores.length ? (
        <ul className="grade-tree">
          {grade.subscores.map((one, index) => (
            <Branch key={index} of={one} total={sum(grade.subscores)} />
          ))}
        </ul>
      ) : null}
      {typeof answer === "string" && answer ? (
        <div className="grade-answer">
          <span className="label">Graded answer</span>
          <Text words={answer} lines={10} />
        </div>
      ) : null}
      {Object.keys(grade.info).length ? <Json value={grade.info} open={1} /> : null}
    </div>
  );
}

/** What a check printed says why it failed, so that is shown at once. */
function tellsWhy(of: Subscore): boolean {
  return of.value !== null && of.value < 1 && !of.children.length && of.reason === null && typeof of.info.log === "string";
}

function sum(subscores: Subscore[]): number {
  return subscores.reduce((total, one) => total + Math.max(0, one.weight ?? 0), 0);
}

function Branch({ of, total }: { of: Subscore; total: number }) {
  const rest = Object.fromEntries(Object.entries(of.info).filter(([name]) => name !== "reason" && name !== "explanation"));
  const hasMore = Object.keys(rest).length > 0;
  const [isOpen, setOpen] = useState(tellsWhy(of));
  const share = of.weight !== null && total > 0 ? Math.max(0, of.weight) / total : null;
  return (
    <li>
      <div className="grade-row">
        <span className={`grade-value ${of.value === null ? "" : rewardClass(of.value)}`}>{of.value === null ? "–" : reward(of.value)}</span>
        <span className="grade-name">
          <Line>{of.name}</Line>
          {of.reason === null ? null : <Text words={of.reason} lines={6} className="grade-reason" />}
        </span>
        {of.weight === null ? null : (
          <span className="grade-weight" title={share === null ? "" : `${Math.round(share * 100)}% of what is above it`}>
            <span className="grade-bar" aria-hidden="true">
              <span style={{ width: `${(share ?? 0) * 100}%` }}>
                <span className={of.value === null ? "" : rewardClass(of.value)} style={{ width: `${Math.min(1, Math.max(0, of.value ?? 0)) * 100}%` }} />
              </span>
            </span>
            × {Number.isInteger(of.weight) ? of.weight : of.weight.toFixed(2)}
          </span>
        )}
        {hasMore ? (
          <button type="button" className="grade-more" onClick={() => setOpen(!isOpen)} aria-expanded={isOpen} aria-label="What the grader noted">
            <Icon name="chevron" size={12} />
          </button>
        ) : (
          <span className="grade-more" />
        )}
      </div>
      {isOpen ? (
        <div className="grade-info">
          <Info value={rest} />
        </div>
      ) : null}
      {of.children.length ? (
        <ul>
          {of.children.map((one, index) => (
            <Branch key={index} of={one} total={sum(of.children)} />
          ))}
        </ul>
      ) : null}
    </li>
  );
}

function Info({ value }: { value: Record<string, unknown> }) {
  // What the grader was given is in the step as it was recorded.
  const { log, _parameters, ...rest } = value;
  return (
    <>
      {typeof log === "string" && log ? <Text words={log} mono lines={14} className="grade-log" /> : null}
      {Object.keys(rest).length ? <Json value={rest} open={2} /> : null}
    </>
  );
}
