/** Rows that can be sorted by any column and be very many: only those near the screen exist. */

import { type ColumnDef, createSortedRowModel, rowSortingFeature, sortFn_basic, tableFeatures, useTable } from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useMemo, useRef } from "react";

import { Icon } from "./Icon";
import { useNarrow } from "./useNarrow";
import "./datatable.css";

export interface Column<Row> {
  id: string;
  header: string;
  /** As CSS grids take it. */
  width: string;
  /** What to sort by; nothing goes to the end either way. */
  value?: (row: Row) => number | string | null | undefined;
  cell: (row: Row) => ReactNode;
  isRight?: boolean;
  /** Its width on a phone. Where a table's columns say so, those that do not are left out there. */
  phone?: string;
  title?: string;
}

export interface Sort {
  id: string;
  desc: boolean;
}

interface DataTableProps<Row> {
  label: string;
  rows: Row[];
  columns: Column<Row>[];
  rowKey: (row: Row) => string;
  sort: Sort | null;
  onSort: (sort: Sort | null) => void;
  /** Called when the last rows come near. */
  onEnd?: () => void;
  rowHeight?: number;
  rowClass?: (row: Row) => string;
}

const features = tableFeatures({ rowSortingFeature, sortedRowModel: createSortedRowModel(), sortFns: { basic: sortFn_basic } });

export function DataTable<Row extends object>(props: DataTableProps<Row>) {
  const { rows, sort, rowHeight = 38 } = props;
  const isNarrow = useNarrow();
  const columns = useMemo(() => (isNarrow ? forPhones(props.columns) : props.columns), [props.columns, isNarrow]);
  const box = useRef<HTMLDivElement>(null);
  const definitions = useMemo(
    () =>
      columns.map(
        (column): ColumnDef<typeof features, Row> => ({
          id: column.id,
          accessorFn: (row: Row) => column.value?.(row) ?? undefined,
          enableSorting: column.value !== undefined,
          sortFn: "basic",
          sortUndefined: "last",
        }),
      ),
    [columns],
  );
  const sorting = useMemo(() => (sort ? [sort] : []), [sort]);
  const table = useTable({ features, columns: definitions, data: rows, state: { sorting }, getRowId: props.rowKey });
  const shown = table.getRowModel().rows;
  const list = useVirtualizer({ count: shown.length, getScrollElement: () => box.current, estimateSize: () => rowHeight, overscan: 12, getItemKey: (index) => shown[index]?.id ?? index });
  const items = list.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  const { onEnd } = props;
  useEffect(() => {
    if (onEnd && last >= rows.length - 30) onEnd();
  }, [last, rows.length, onEnd]);
  const grid = { gridTemplateColumns: columns.map((column) => column.width).join(" ") };
  return (
    <div className="datatable" ref={box} role="table" aria-label={props.label} aria-rowcount={rows.length} tabIndex={0}>
      <div className="datatable-head" role="row" style={grid}>
        {columns.map((column) => {
          const isSorted = sort?.id === column.id;
          return (
            <div key={column.id} role="columnheader" aria-sort={isSorted ? (sort.desc ? "descending" : "ascending") : "none"} className={classes(column)} title={column.title}>
              {column.value ? (
                <button type="button" onClick={() => props.onSort(next(column.id, sort))}>
                  {column.header}
                  {isSorted ? <Icon name={sort.desc ? "down" : "up"} size={11} /> : null}
                </button>
              ) : (
                column.header
              )}
            </div>
          );
        })}
      </div>
      <div className="datatable-rows" style={{ height: list.getTotalSize() }}>
        {items.map((item) => {
          const row = shown[item.index]?.original;
          if (!row) return null;
          return (
            <div key={item.key} role="row" className={`datatable-row ${props.rowClass?.(row) ?? ""}`} style={{ ...grid, height: rowHeight, transform: `translateY(${item.start}px)` }}>
              {columns.map((column) => (
                <div key={column.id} role="cell" className={classes(column)}>
                  {column.cell(row)}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function classes<Row>(column: Column<Row>): string {
  return column.isRight ? "right number" : "";
}

function forPhones<Row>(columns: Column<Row>[]): Column<Row>[] {
  const kept = columns.flatMap((column) => (column.phone === undefined ? [] : [{ ...column, width: column.phone }]));
  return kept.length ? kept : columns;
}

function next(id: string, sort: Sort | null): Sort | null {
  if (sort?.id !== id) return { id, desc: true };
  return sort.desc ? { id, desc: false } : null;
}

/** A sort as an address holds it: `-mean`. */
export function sortIn(text: string | undefined): Sort | null {
  if (!text) return null;
  return text.startsWith("-") ? { id: text.slice(1), desc: true } : { id: text, desc: false };
}

export function sortOut(sort: Sort | null): string | undefined {
  return sort ? `${sort.desc ? "-" : ""}${sort.id}` : undefined;
}
