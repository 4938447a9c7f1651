// The page's data: what report/payload.py writes, with the arrays that report/packing.py puts beside it.

/**
 * @typedef {object} Payload All that the page shows. The arrays arrive as `{"$array": [type, offset, length, block]}`.
 * @property {string} dataset
 * @property {number} coverage The working point at first, in per cent of the ordinary cases.
 * @property {number} tile Side of a thumbnail in pixels.
 * @property {Record<string, Shift>} groups By kind of test set, in the order of the page.
 * @property {Colours} colours
 * @property {Record<string, Score>} csfs By name, in the order of the page.
 * @property {BenchmarkTable} table
 * @property {StudyTable} studies
 * @property {Note[]} notes
 * @property {Run[]} runs At least one, with at least one test set and one score.
 * @property {Provenance} provenance
 *
 * @typedef {object} Shift A kind of test set, as monai_sf.vocabulary.shifts has it.
 * @property {string} kind
 * @property {string} column Of the benchmark table.
 * @property {string} title
 * @property {string} meaning
 * @property {string} average What its column averages.
 * @property {boolean} has_target Whether it is a target domain of a study.
 *
 * @typedef {object} Colours Of monai_sf.vocabulary.colours, as #RRGGBB.
 * @property {Themed} categories
 * @property {ColouredOutcome[]} outcomes Trusted, false alarm, detected, silent.
 * @property {string[]} levels Rising in lightness.
 *
 * @typedef {object} Themed
 * @property {string[]} light
 * @property {string[]} dark
 *
 * @typedef {object} ColouredOutcome
 * @property {string} name
 * @property {string} light
 * @property {string} dark
 * @property {string} shape
 * @property {number} size
 *
 * @typedef {object} Score
 * @property {string} scale Of its confidences.
 * @property {string} description
 * @property {boolean} usual Whether it is offered at first.
 *
 * @typedef {object} BenchmarkTable AURC by score and column, as in the paper.
 * @property {string[]} columns
 * @property {string[]} rows Names of scores.
 * @property {Record<string, string>} methods Score to the method it is read from.
 * @property {(number | null)[][]} values One list per row.
 *
 * @typedef {object} StudyTable
 * @property {StudyColumn[]} columns
 * @property {Record<string, ([number, number | null, number | null] | null)[]>} rows Score to AURC, low and high per column.
 *
 * @typedef {object} StudyColumn A test set of a study, over all its seeds.
 * @property {string} study
 * @property {string} studyTitle
 * @property {string} set
 * @property {string} title
 * @property {[number, number]} counts The smallest and the largest number of cases.
 * @property {number} seeds How many there are.
 * @property {Record<string, string>} methods Score to the method it is read from.
 *
 * @typedef {object} Note
 * @property {string} about The part of the page: report, numbers, pictures or map.
 * @property {string} text
 *
 * @typedef {object} Run
 * @property {string} study
 * @property {string} studyTitle
 * @property {string | null} description Of the study.
 * @property {string} method
 * @property {number} seed
 * @property {string[]} classes
 * @property {TestSet[]} sets The first is the reference of the working points.
 * @property {RunScore[]} csfs
 * @property {Uint16Array | Uint32Array} missed [a, b, step - 1]: failures of all cases that score a trusts and b does not.
 * @property {Note[]} notes
 * @property {Concept[]} concepts The first is the class.
 * @property {Sweep | null} sweep
 * @property {Cases} cases
 * @property {Points} points
 *
 * @typedef {object} TestSet
 * @property {string} name
 * @property {string} title
 * @property {string | null} description
 * @property {string} kind A key of the groups.
 * @property {string} domain What its domain or its corruption is called.
 * @property {string | null} corruption
 * @property {number} severity
 * @property {number} count
 *
 * @typedef {object} RunScore A score in a run. Of sampled cases: confidence, step, prediction.
 * @property {string} name
 * @property {Float64Array} thresholds By working point.
 * @property {Float32Array} confidence
 * @property {Uint8Array} step The first working point that trusts the case, above 100 for none.
 * @property {Uint16Array} prediction
 * @property {Record<string, Float32Array>} effective Kind to independent cases by working point, at last those of all cases.
 * @property {Judged[]} sets
 *
 * @typedef {object} Judged A score on all cases of a test set; arrays are by working point, but for the curve.
 * @property {number} aurc
 * @property {[number, number] | null} aurcInterval
 * @property {number} errors
 * @property {Uint32Array} trusted
 * @property {Uint32Array} silent
 * @property {Float32Array} effective Independent cases that the trusted ones are worth; at last those of all cases.
 * @property {Float32Array} coverage Of the drawn curve.
 * @property {Float32Array} risk Of the drawn curve.
 *
 * @typedef {object} Concept
 * @property {string} column
 * @property {ConceptGroup[]} groups
 *
 * @typedef {object} ConceptGroup
 * @property {string} value
 * @property {string} domain
 * @property {number} count
 * @property {number[]} points Typical sampled cases.
 *
 * @typedef {object} Sweep Images that are followed through all corruptions; arrays are [image, set].
 * @property {string[]} ids
 * @property {number[]} sets The undisturbed test set and the corrupted ones.
 * @property {Uint16Array} label By image.
 * @property {Int32Array} thumb
 * @property {Record<string, SweepScore>} csfs
 *
 * @typedef {object} SweepScore
 * @property {Float32Array} confidence
 * @property {Uint16Array} prediction
 * @property {Float32Array} rank Share of the reference cases that the score is at most as sure of.
 * @property {Uint8Array} step
 *
 * @typedef {object} Cases
 * @property {string[]} id
 * @property {CaseColumn[]} columns
 *
 * @typedef {object} CaseColumn
 * @property {string} name
 * @property {string[]} values The different ones.
 * @property {Uint32Array} codes By case.
 *
 * @typedef {object} Points The sampled cases, which are shown one by one.
 * @property {number} count
 * @property {number} total Of all cases.
 * @property {number} images Of those with a thumbnail.
 * @property {[string, number, number][]} parts What is shown of what there is: what it is called, shown, total.
 * @property {Uint16Array} set
 * @property {Uint32Array} case Index into the cases.
 * @property {Uint16Array} label
 * @property {Int32Array} thumb -1 without.
 * @property {Int16Array | null} xyz Places on the map; -32768 for a case without.
 *
 * @typedef {object} Provenance
 * @property {ReportFacts} report
 * @property {RunFacts[]} runs
 *
 * @typedef {object} ReportFacts
 * @property {string} made
 * @property {string} monai_sf
 * @property {string} python
 * @property {Record<string, string>} packages
 * @property {Record<string, string | number | boolean>} settings
 *
 * @typedef {object} RunFacts
 * @property {string} title
 * @property {[string, number, number][]} cases Test set, all cases, shown cases.
 * @property {string} run The run's description, as text.
 */

const TYPED = { Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array };

/** @param {string} coded Base64. */
export function fromBase64(coded) {
  const quick = /** @type {{ fromBase64?: (coded: string) => Uint8Array<ArrayBuffer> }} */ (/** @type {unknown} */ (Uint8Array));
  if (quick.fromBase64) return quick.fromBase64(coded);
  const text = atob(coded);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/**
 * Make every `{"$array": [type, offset, length, block]}` the typed array it stands for, when it is first read.
 *
 * @param {any} value
 * @param {(block: number) => ArrayBuffer} blockOf
 */
export function withArrays(value, blockOf) {
  if (value === null || typeof value !== "object") return;
  for (const key of Object.keys(value)) {
    const place = value[key]?.$array;
    if (!place) { withArrays(value[key], blockOf); continue; }
    /** @type {[keyof typeof TYPED, number, number, number]} */
    const [type, offset, length, block] = place;
    Object.defineProperty(value, key, { configurable: true, enumerable: true, get: () => {
      const array = new TYPED[type](blockOf(block), offset, length);
      Object.defineProperty(value, key, { value: array, enumerable: true });
      return array;
    } });
  }
}

/** @param {string} id */
const textOf = (id) => document.getElementById(id)?.textContent ?? "";

/** @param {string} id */
export const bytesOf = (id) => fromBase64(textOf(id).trim());

/** @returns {Payload} */
export function readPayload() {
  const content = JSON.parse(textOf("sf-data"));
  /** @type {ArrayBuffer[]} */
  const blocks = [];
  // decoded when first asked for: the first view needs one of them only
  withArrays(content, (index) => (blocks[index] ??= bytesOf(`sf-arrays-${index}`).buffer));
  return content;
}
