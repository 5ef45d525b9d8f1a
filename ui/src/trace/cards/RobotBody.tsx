/** One tick of a robot: what it saw, or what its policy plans. */

import type { ViewOf } from "../step";
import { Line } from "../Text";
import { Blocks } from "./Blocks";
import { Picture } from "./Picture";
import "./robot.css";

export function RobotBody({ step }: { step: ViewOf<"robot"> }) {
  if (step.what === "video_segment") return step.film ? <Blocks blocks={[{ kind: "film", media: step.film }]} /> : null;
  return (
    <>
      {step.pictures.length ? (
        <div className="robot-pictures">
          {step.pictures.map((one) => (
            <figure key={one.camera}>
              {one.media.url === null ? <Blocks blocks={[{ kind: "picture", media: one.media }]} /> : <Picture url={one.media.url} small />}
              <figcaption className="label">
                <Line>{one.camera}</Line>
              </figcaption>
            </figure>
          ))}
        </div>
      ) : null}
      {step.state.length ? (
        <table className="robot-values">
          <tbody>
            {step.state.flatMap((feature) =>
              feature.values.slice(0, 64).map((value, index) => (
                <tr key={`${feature.name}${index}`}>
                  <th scope="row">
                    <Line>{feature.names[index] ?? `${feature.name}[${index}]`}</Line>
                  </th>
                  <td className="number">{spelled(value)}</td>
                </tr>
              )),
            )}
          </tbody>
        </table>
      ) : null}
      {step.chunk.length ? (
        <div className="robot-chunk">
          <table className="robot-values">
            <thead>
              <tr>
                <th scope="col">+</th>
                {(step.chunk[0] ?? []).slice(0, 24).map((_, index) => (
                  <th key={index} scope="col">
                    <Line>{step.names[index] ?? String(index)}</Line>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {step.chunk.slice(0, 64).map((row, index) => (
                <tr key={index}>
                  <th scope="row">{index}</th>
                  {row.slice(0, 24).map((value, at) => (
                    <td key={at} className="number">
                      {spelled(value)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : null}
    </>
  );
}

function spelled(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "–";
}
