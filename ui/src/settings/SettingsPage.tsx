/** Keys, people, projects, providers, budgets and the audit log of a team. */

import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";

import { request } from "../api/http";
import { meQuery } from "../api/queries";
import { Icon, type IconName } from "../parts/Icon";
import { Line } from "../trace/Text";
import { Audit } from "./Audit";
import { Budgets } from "./Budgets";
import { Keys } from "./Keys";
import { Members } from "./Members";
import { Projects } from "./Projects";
import { Providers } from "./Providers";
import { useTitle } from "../parts/useTitle";
import "../jobs/jobs.css";
import "./settings.css";

const SECTIONS: Record<string, { label: string; icon: IconName; page: () => React.ReactNode }> = {
  keys: { label: "API keys", icon: "key", page: () => <Keys /> },
  members: { label: "Members", icon: "prompt", page: () => <Members /> },
  projects: { label: "Projects", icon: "files", page: () => <Projects /> },
  providers: { label: "Model providers", icon: "models", page: () => <Providers /> },
  budgets: { label: "Budgets", icon: "coins", page: () => <Budgets /> },
  audit: { label: "Audit log", icon: "clock", page: () => <Audit /> },
};

/** On a phone the sections are a row that is wider than the window. */
function intoView(place: HTMLElement | null): void {
  place?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

export function SettingsPage() {
  const { section } = useParams({ strict: false });
  const me = useQuery(meQuery);
  const name = section && section in SECTIONS ? section : "keys";
  const shown = SECTIONS[name];
  useTitle(shown?.label, "settings");
  return (
    <div className="settings">
      <nav aria-label="Settings">
        <h1>Settings</h1>
        <ul>
          {Object.entries(SECTIONS).map(([id, one]) => (
            <li key={id}>
              <Link to="/settings/$section" params={{ section: id }} ref={id === name ? intoView : undefined} className={`place${id === name ? " here" : ""}`} aria-current={id === name ? "page" : undefined}>
                <Icon name={one.icon} />
                {one.label}
              </Link>
            </li>
          ))}
        </ul>
        {me.data ? (
          <div className="settings-me">
            <span className="label">Signed in as</span>
            <strong>
              <Line>{me.data.name}</Line>
            </strong>
            <span className="quiet">
              <Line>{me.data.team}</Line> · {me.data.role}
            </span>
            <button
              type="button"
              className="button small"
              onClick={() => void request("/sign-out", { method: "POST" }).finally(() => window.location.assign("/"))}
            >
              <Icon name="signout" /> Sign out
            </button>
          </div>
        ) : null}
      </nav>
      <div className="settings-page">{shown?.page()}</div>
    </div>
  );
}
