/** A button that copies a text, and says that it did. */

import { useEffect, useState } from "react";

import { Icon } from "./Icon";

export function Copy({ text, label = "Copy" }: { text: string | (() => string); label?: string }) {
  const [isDone, setDone] = useState(false);
  useEffect(() => {
    if (!isDone) return;
    const timer = setTimeout(() => setDone(false), 1200);
    return () => clearTimeout(timer);
  }, [isDone]);
  const copy = () => {
    void navigator.clipboard?.writeText(typeof text === "string" ? text : text()).then(() => setDone(true));
  };
  return (
    <button type="button" className="icon-button" onClick={copy} title={label} aria-label={isDone ? "Copied" : label}>
      <Icon name={isDone ? "done" : "copy"} size={14} />
    </button>
  );
}

/** A command to run in a terminal. */
export function Command({ children }: { children: string }) {
  return (
    <div className="command">
      <code tabIndex={0}>{children}</code>
      <Copy text={children} label="Copy the command" />
    </div>
  );
}
