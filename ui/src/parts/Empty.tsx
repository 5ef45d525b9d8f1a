/** A page without anything on it yet: why, and the command that changes that. */

import type { ReactNode } from "react";

import { Command } from "./Copy";
import { Icon, type IconName } from "./Icon";

interface EmptyProps {
  icon: IconName;
  title: string;
  children?: ReactNode;
  command?: string;
}

export function Empty({ icon, title, children, command }: EmptyProps) {
  return (
    <div className="empty">
      <Icon name={icon} size={32} />
      <h2>{title}</h2>
      {children ? <p>{children}</p> : null}
      {command ? <Command>{command}</Command> : null}
    </div>
  );
}
