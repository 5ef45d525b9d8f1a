/** A picture from a trace: loaded when it comes near, with its marks, and one that is broken says so. */

import { useState } from "react";

import type { Acts } from "../actions";
import { Drawn, type Size } from "../Drawn";
import { Marks } from "./Marks";

const WIDEST_PX = 760;
const WIDEST_SMALL_PX = 220;

interface PictureProps {
  url: string;
  acts?: Acts | null;
  small?: boolean;
  onOpen?: () => void;
}

export function Picture({ url, acts = null, small = false, onOpen }: PictureProps) {
  const [size, setSize] = useState<Size | null>(null);
  const [isBroken, setBroken] = useState(false);
  // Screens come by the thousand and never move; any other picture may.
  const isStill = small || acts !== null;
  const label = acts ? acts.acts.map((act) => act.says).join(", ") : "Picture";
  if (isBroken) return <div className="picture broken">A picture that no browser can read.</div>;
  const content = (
    <>
      {isStill ? (
        <Drawn url={url} label={label} widest={small ? WIDEST_SMALL_PX : WIDEST_PX} onDrawn={setSize} onBroken={() => setBroken(true)} />
      ) : (
        <img src={url} alt={label} loading="lazy" decoding="async" onError={() => setBroken(true)} />
      )}
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
