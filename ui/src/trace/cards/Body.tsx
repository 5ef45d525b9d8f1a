/** What there is to see of a step, by its kind. */

import type { StepView } from "../step";
import { Json } from "../Json";
import { Text } from "../Text";
import { FilesBody } from "./FilesBody";
import { GradeBody } from "./GradeBody";
import { PromptBody, SetupBody } from "./PromptBody";
import { RobotBody } from "./RobotBody";
import { ScreenBody } from "./ScreenBody";
import { ShellBody } from "./ShellBody";
import { SubagentBody } from "./SubagentBody";
import { ToolBody } from "./ToolBody";
import { TurnBody } from "./TurnBody";

export function Body({ step }: { step: StepView }) {
  switch (step.kind) {
    case "setup":
      return <SetupBody step={step} />;
    case "prompt":
      return <PromptBody step={step} />;
    case "turn":
      return <TurnBody step={step} />;
    case "tool":
      return <ToolBody step={step} />;
    case "shell":
      return <ShellBody step={step} />;
    case "screen":
      return <ScreenBody step={step} />;
    case "files":
      return <FilesBody step={step} />;
    case "robot":
      return <RobotBody step={step} />;
    case "subagent":
      return <SubagentBody step={step} />;
    case "grade":
      return <GradeBody grade={step.grade} answer={step.answer} />;
    case "error":
      return step.error === null ? <Json value={step.payload} /> : <Text words={step.error} mono className="step-error" />;
    case "system":
      return <Json value={step.extra} />;
    case "unknown":
      return <Json value={step.payload} />;
  }
}
