/** A call of a tool and what it gave back; an edit of a file is shown as what it changes. */

import type { Table } from "../loose";
import { table, text } from "../loose";
import { Fields, Json } from "../Json";
import type { ViewOf } from "../step";
import { Line } from "../Text";
import { Blocks } from "./Blocks";
import { Diff, Replaced } from "./Diff";

export function ToolBody({ step }: { step: ViewOf<"tool"> }) {
  const args = step.call.arguments;
  const edit = editOf(table(args));
  const saysAll = step.blocks.some((block) => block.kind === "text");
  return (
    <>
      {edit ?? (typeof args === "string" ? <Malformed given={args} /> : <Fields value={args ?? {}} />)}
      {step.hasResult ? (
        <div className={`result${step.isError ? " failed" : ""}`}>
          <Blocks blocks={step.blocks} mono lines={24} />
          {step.structured !== null && !saysAll ? <Json value={step.structured} /> : null}
          {!step.blocks.length && step.structured === null ? <span className="text-quiet">It gave nothing back.</span> : null}
        </div>
      ) : (
        <span className="text-quiet">No result was recorded.</span>
      )}
    </>
  );
}

function Malformed({ given }: { given: string }) {
  return (
    <div className="step-error">
      <span className="label">Arguments that are no JSON</span>
      <Blocks blocks={[{ kind: "text", words: given }]} mono />
    </div>
  );
}

function editOf(args: Table) {
  const path = text(args.path) ?? text(args.file_path) ?? "";
  const [before, after] = [text(args.old_str) ?? text(args.old_string), args.new_str ?? args.new_string];
  if (before !== null && (typeof after === "string" || after === undefined)) {
    return (
      <Named path={path}>
        <Replaced before={before} after={typeof after === "string" ? after : ""} />
      </Named>
    );
  }
  const diff = text(args.diff) ?? text(args.patch);
  if (diff !== null && /^(?:@@|---|\*\*\* )/m.test(diff)) {
    return (
      <Named path={path}>
        <Diff patch={diff} />
      </Named>
    );
  }
  return null;
}

function Named({ path, children }: { path: string; children: React.ReactNode }) {
  return (
    <div className="diff-file">
      {path ? (
        <header className="diff-name">
          <Line>{path}</Line>
        </header>
      ) : null}
      {children}
    </div>
  );
}
