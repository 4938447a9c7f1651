import assert from "node:assert/strict";
import test from "node:test";

import { hexToRgb } from "../../../monai_sf/report/scripts/look.js";

test("colours of three digits are those of six", () => {
  assert.deepEqual(hexToRgb("#12abEF"), [0x12, 0xab, 0xef]);
  assert.deepEqual(hexToRgb("#fff"), hexToRgb("#ffffff"));
  assert.deepEqual(hexToRgb("#1aF"), hexToRgb("#11aaFF"));
});
