/** One part of the settings: its head, and a table of what there is. */

import type { ReactNode } from "react";

import { Failure } from "../parts/Failure";

interface SectionProps {
  title: string;
  says: ReactNode;
  action?: ReactNode;
  error?: unknown;
  children: ReactNode;
}

export function Section({ title, says, action, error, children }: SectionProps) {
  return (
    <section>
      <header className="section-head">
        <div>
          <h2>{title}</h2>
          <p className="quiet">{says}</p>
        </div>
        {action}
      </header>
      {error ? <Failure error={error} /> : null}
      {children}
    </section>
  );
}

interface RowsProps<Row> {
  heads: string[];
  rows: Row[] | undefined;
  rowKey: (row: Row) => string;
  cells: (row: Row) => ReactNode[];
  empty: ReactNode;
}

export function Rows<Row>({ heads, rows, rowKey, cells, empty }: RowsProps<Row>) {
  if (rows && !rows.length) return <div className="panel section-empty quiet">{empty}</div>;
  return (
    <div className="panel section-table">
      <table>
        <thead>
          <tr>
            {heads.map((head, index) => (
              <th key={index} scope="col">
                {head || <span className="visually-hidden">Actions</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows?.map((row) => (
            <tr key={rowKey(row)}>
              {cells(row).map((cell, index) => (
                <td key={index}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
