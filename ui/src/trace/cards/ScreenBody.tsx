/** What an agent did to a screen, and what the screen showed then. */

import { useReading } from "../reading";
import type { ViewOf } from "../step";
import { Fields } from "../Json";
import { Blocks } from "./Blocks";
import { Picture } from "./Picture";

export function ScreenBody({ step }: { step: ViewOf<"screen"> }) {
  const { hasStage, onShow } = useReading();
  const pictures = step.blocks.filter((block) => block.kind === "picture");
  const others = step.blocks.filter((block) => block.kind !== "picture");
  return (
    <>
      {step.acts === null ? <Fields value={step.call.arguments} /> : null}
      {pictures.map((block, index) =>
        block.media.url === null ? (
          <Blocks key={index} blocks={[block]} />
        ) : (
          <Picture key={index} url={block.media.url} acts={step.acts} small={hasStage} onOpen={() => onShow(step.seq)} />
        ),
      )}
      {others.length ? (
        <div className={`result${step.isError ? " failed" : ""}`}>
          <Blocks blocks={others} mono lines={12} />
        </div>
      ) : null}
      {step.hasResult ? null : <span className="text-quiet">No result was recorded.</span>}
    </>
  );
}
