/** A moment in the reader's zone, short, with the whole of it on hover. */

import { fullTime, moment, when } from "./format";

export function Moment({ iso }: { iso: string }) {
  const date = moment(iso);
  if (!date) return <span className="number">{iso}</span>;
  return (
    <time dateTime={iso} title={fullTime(date)} className="number">
      {when(date)}
    </time>
  );
}
