/** What went wrong and what can be done; and the fence that keeps one part's fault from the others. */

import { Component, type ReactNode } from "react";

import { ApiFailure } from "../api/http";

export function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const isKnown = error instanceof ApiFailure;
  const message = error instanceof Error ? error.message : String(error);
  const isSignedOut = isKnown && error.status === 401;
  return (
    <div className="failure" role="alert">
      <strong>{isSignedOut ? "This browser is not signed in any more." : message}</strong>
      {isSignedOut ? <span>Open the link that `hud platform sign-in` prints, then load this page again.</span> : null}
      {!isSignedOut && isKnown && error.hint ? <span>{error.hint}</span> : null}
      {onRetry && !isSignedOut ? (
        <span>
          <button type="button" className="button small" onClick={onRetry}>
            Try again
          </button>
        </span>
      ) : null}
    </div>
  );
}

interface FenceProps {
  children: ReactNode;
  fallback: (error: unknown) => ReactNode;
  /** Another value tries the children anew. */
  of?: unknown;
}

export class Fence extends Component<FenceProps, { error: unknown; of: unknown }> {
  override state: { error: unknown; of: unknown } = { error: null, of: this.props.of };

  static getDerivedStateFromError(error: unknown) {
    return { error: error ?? new Error("something failed") };
  }

  static getDerivedStateFromProps(props: FenceProps, state: { error: unknown; of: unknown }) {
    return props.of === state.of ? null : { error: null, of: props.of };
  }

  override render() {
    return this.state.error === null ? this.props.children : this.props.fallback(this.state.error);
  }
}
