/** A picture from a trace: loaded when it comes near, with its marks, and one that is broken says so. */

import { useState } from "react";

import type { Acts } from "../actions";
import { Marks } from "./Marks";

interface PictureProps {
  url: string;
  acts?: Acts | null;
  small?: boolean;
  onOpen?: () => void;
}

export function Picture({ url, acts = null, small = false, onOpen }: PictureProps) {
  const [size, setSize] = useState<{ width: number; height: number } | null>(null);
  const [isBroken, setBroken] = useState(false);
  if (isBroken) return <div className="picture broken">A picture that no browser can read.</div>;
  const content = (
    <>
      <img
        src={url}
        alt={acts ? acts.acts.map((act) => act.says).join(", ") : "Picture"}
        loading="lazy"
        decoding="async"
        onLoad={(event) => setSize({ width: event.currentTarget.naturalWidth, height: event.currentTarget.naturalHeight })}
        onError={() => setBroken(true)}
      />
      {acts && size ? <Marks acts={acts} size={size} /> : null}
    </>
  );
  const classes = `picture${small ? " small" : ""}`;
  if (!onOpen) return <span className={classes}>{content}</span>;
  return (
    <button type="button" className={classes} onClick={onOpen} aria-label="Show large">
      {content}
    </button>
  );
}
