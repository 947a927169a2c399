// SPDX-License-Identifier: Apache-2.0
//
// What Grafana's own published types (npm, @grafana/schema, Apache-2.0) say about a dashboard whose panels are
// of the kinds that are used here. dashboard.schema.json is made of it, and needs no Node to check against:
//
//     cd tests/dashboards/schema && npm install && npm run --silent schema

import type * as grafana from '@grafana/schema';
import type * as BarGauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as Heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// A query to Prometheus, as Grafana documents its JSON; its types are in no package of this licence.
interface Query {
  datasource: grafana.DataSourceRef;
  editorMode?: 'code' | 'builder';
  expr: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  legendFormat: string;
  range: boolean;
  refId: string;
}

interface Fields<Custom> {
  defaults: Omit<grafana.FieldConfig, 'custom'> & { custom?: Partial<Custom> };
  overrides: Array<{
    matcher: { id: string; options: string };
    properties: Array<{ id: string; value: unknown }>;
  }>;
}

type Panel<Type extends string, Options, Custom> = Omit<
  grafana.Panel,
  'type' | 'options' | 'fieldConfig' | 'targets' | 'title' | 'description'
> & {
  type: Type;
  title: string;
  description: string;
  options: Partial<Options>;
  fieldConfig: Fields<Custom>;
  targets: Query[];
};

// Grafana's Prometheus datasource moves `expr` into `target` when it loads the dashboard.
type Annotation = Omit<grafana.AnnotationQuery, 'target' | 'snapshotData'> & { expr: string };

type Row = Omit<grafana.RowPanel, 'panels'> & { panels: [] };

export type Dashboard = Omit<grafana.Dashboard, 'panels' | 'annotations'> & {
  annotations: { list: Annotation[] };
  panels: Array<
    | Row
    | Panel<'bargauge', BarGauge.Options, {}>
    | Panel<'heatmap', Heatmap.Options, Heatmap.FieldConfig>
    | Panel<'stat', Stat.Options, {}>
    | Panel<'table', Table.Options, Table.FieldConfig>
    | Panel<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
  >;
};
