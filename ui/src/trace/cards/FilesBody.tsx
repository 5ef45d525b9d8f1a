/** Files of a workspace that changed, with what changed in each. */

import { useEffect, useState } from "react";

import { bytes } from "../../parts/format";
import { type BlobRef, fetchText } from "../blobs";
import type { Patch, ViewOf } from "../step";
import { Line } from "../Text";
import { counted, Diff } from "./Diff";

const SHOWN = 8;

export function FilesBody({ step }: { step: ViewOf<"files"> }) {
  const [shown, setShown] = useState(SHOWN);
  return (
    <>
      {step.patches.slice(0, shown).map((patch, index) => (
        <PatchView key={index} patch={patch} />
      ))}
      {step.patches.length > shown ? (
        <button type="button" className="text-more" onClick={() => setShown(shown + 50)}>
          {step.patches.length - shown} more files
        </button>
      ) : null}
      {step.truncated ? <p className="step-note">More changed than was looked at or listed: {step.changed} files in all.</p> : null}
    </>
  );
}

const SIGNS: Record<string, string> = { added: "good", deleted: "bad", modified: "warn" };

export function PatchView({ patch }: { patch: Patch }) {
  const text = typeof patch.patch === "string" ? patch.patch : null;
  const counts = text === null ? null : counted(text);
  return (
    <div className="diff-file">
      <header className="diff-name">
        <Line>{patch.path}</Line>
        <span className="grow" />
        {counts ? (
          <span className="diff-counts">
            <span className="added">+{counts.added}</span> <span className="dropped">−{counts.dropped}</span>
          </span>
        ) : null}
        <span className={`badge ${SIGNS[patch.status] ?? ""}`}>{patch.status.slice(0, 24)}</span>
      </header>
      {text !== null ? <Diff patch={text} /> : patch.patch ? <MovedPatch of={patch.patch as BlobRef} /> : <Without patch={patch} />}
      {patch.notes.map((note) => (
        <p key={note} className="diff-notes">
          <Line>{note}</Line>
        </p>
      ))}
    </div>
  );
}

function Without({ patch }: { patch: Patch }) {
  const sizes = [patch.sizeBefore, patch.sizeAfter].map((size) => (size === null ? null : bytes(size)));
  const size = sizes[0] && sizes[1] ? `${sizes[0]} → ${sizes[1]}` : (sizes[1] ?? sizes[0]);
  return (
    <p className="diff-notes">
      {patch.withheld ?? "Nothing of its content changed"}
      {size ? ` (${size})` : ""}.
    </p>
  );
}

function MovedPatch({ of }: { of: BlobRef }) {
  const [text, setText] = useState<string | null>(null);
  const [isAsked, setAsked] = useState(false);
  useEffect(() => {
    if (!isAsked) return;
    const ending = new AbortController();
    fetchText(of, ending.signal).then(setText, () => setAsked(false));
    return () => ending.abort();
  }, [isAsked, of.sha256]);
  if (text !== null) return <Diff patch={text} />;
  return (
    <button type="button" className="text-more" onClick={() => setAsked(true)} disabled={isAsked}>
      {isAsked ? "Loading…" : `Load a change of ${bytes(of.sizeBytes)}`}
    </button>
  );
}
