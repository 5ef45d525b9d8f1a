/** What the agent was told, and what the environment was set up with. */

import { Fields, Json } from "../Json";
import type { ViewOf } from "../step";
import { Blocks } from "./Blocks";

export function PromptBody({ step }: { step: ViewOf<"prompt"> }) {
  if (!step.messages.length) return <span className="text-quiet">No messages.</span>;
  return step.messages.map((message, index) => (
    <div key={index} className={`message message-${message.role === "assistant" ? "assistant" : "user"}`}>
      {message.role === "user" ? null : <span className="label">{message.role.slice(0, 40)}</span>}
      <Blocks blocks={[message.block]} />
    </div>
  ));
}

export function SetupBody({ step }: { step: ViewOf<"setup"> }) {
  const { prompt: _, ...rest } = step.result;
  return (
    <>
      <span className="label">Arguments</span>
      <Fields value={step.arguments} />
      {Object.keys(rest).length ? (
        <>
          <span className="label">Beside the prompt</span>
          <Json value={rest} />
        </>
      ) : null}
    </>
  );
}
