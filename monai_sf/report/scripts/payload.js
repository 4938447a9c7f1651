// The page's data: the payload of report/payload.py, with the arrays of report/packing.py beside it.

/**
 * @typedef {object} Payload Everything that the page shows. Arrays arrive as `{"$array": [type, offset, length, block]}`.
 * @property {string} dataset
 * @property {number} coverage The initial working point where nothing is promised, in per cent of the ordinary cases.
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
 * @typedef {object} Shift A kind of test set, as defined in monai_sf.vocabulary.shifts.
 * @property {string} kind
 * @property {string} column Its column in the benchmark table.
 * @property {string} title
 * @property {string} meaning
 * @property {string} average What its column averages.
 * @property {boolean} has_target Whether it is a target domain of a study.
 *
 * @typedef {object} Colours The colours of monai_sf.vocabulary.colours, as #RRGGBB.
 * @property {Themed} categories
 * @property {ColouredOutcome[]} outcomes Trusted, false alarm, detected, silent.
 * @property {string[]} levels In ascending lightness.
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
 * @property {string} scale Scale of its confidences.
 * @property {string} description
 * @property {string} group Heading of the scores with the same needs.
 * @property {boolean} usual Whether it is offered initially.
 *
 * @typedef {object} BenchmarkTable AURC by score and column, as in the paper.
 * @property {string[]} columns
 * @property {string[]} rows Names of scores.
 * @property {Record<string, string>} methods Score to the method it is read from.
 * @property {(number | null)[][]} values One list per row.
 *
 * @typedef {object} StudyTable
 * @property {StudyColumn[]} columns
 * @property {Record<string, ([number, number | null, number | null] | null)[]>} rows AURC with its interval (low, high), by score, one entry per column.
 *
 * @typedef {object} StudyColumn A test set of a study, over all of the study's seeds.
 * @property {string} study
 * @property {string} studyTitle
 * @property {string} set
 * @property {string} title
 * @property {[number, number]} counts The smallest and the largest number of cases.
 * @property {number} seeds Number of seeds.
 * @property {Record<string, string>} methods Score to the method it is read from.
 *
 * @typedef {object} Note
 * @property {string} about The part of the page: report, numbers, pictures or map.
 * @property {string} text
 *
 * @typedef {object} Run
 * @property {string} study
 * @property {string} studyTitle
 * @property {string | null} description Description of the study.
 * @property {string} method
 * @property {number} seed Of an ensemble the smallest of its members'.
 * @property {string} title Method, and seed or number of seeds.
 * @property {string[]} classes None where the cases have errors in place of classes.
 * @property {string[]} truths The classes, and the names of cases of none of them.
 * @property {TestSet[]} sets The first is the reference that defines the working points.
 * @property {Promised | null} promise What the thresholds of its scores promise; null without thresholds.
 * @property {string | null} unpromised Why it has no thresholds.
 * @property {RunScore[]} csfs
 * @property {Uint16Array | Uint32Array} missed [a, b, working point - 1]: failures of all cases that score a trusts and b does not.
 * @property {Note[]} notes
 * @property {Affected | null} affected Who is affected by silent failures; none where no column divides the cases.
 * @property {Concept[]} concepts The first one is the class.
 * @property {Sweep | null} sweep
 * @property {Cases} cases
 * @property {Points} points
 *
 * @typedef {object} Promised A risk that is promised on ordinary cases.
 * @property {number} targetRisk Highest share of wrong answers among the trusted ones.
 * @property {number} delta Probability with which the promise of any score may fail.
 * @property {number} cases Number of calibration cases.
 * @property {number} groups Number of their groups, such as patients.
 *
 * @typedef {object} ScorePromise
 * @property {number | null} threshold Lowest confidence of a trusted case; null if no threshold can promise the risk.
 * @property {number | null} needed About how many groups it would take to promise it without a threshold; null if none would do.
 *
 * @typedef {object} Seen What was seen at the promised threshold, where every patient counts alike, as in the promise.
 * @property {number} rate Error rate of the trusted cases, of which each counts as its share of the patient's cases.
 * @property {number | null} low Of its 95 % interval.
 * @property {number | null} high
 * @property {boolean} few Whether the trusted cases are of too few patients for a verdict.
 *
 * @typedef {object} TestSet
 * @property {string} name
 * @property {string} title
 * @property {string | null} description
 * @property {string} kind A key of the groups.
 * @property {string} domain Title of its domain or its corruption.
 * @property {string | null} corruption
 * @property {number} severity
 * @property {number} count
 * @property {Probabilities | null} probabilities None of disturbed images, and without classes.
 *
 * @typedef {object} Probabilities Do they mean what they say? Before and after the temperature.
 * @property {number | null} temperature None where it is not fitted, as is `after`.
 * @property {Reliability} before
 * @property {Reliability | null} after
 *
 * @typedef {object} Reliability
 * @property {number} cases Those whose label is one of the classes.
 * @property {number} ece Expected calibration error.
 * @property {number} brier Summed over the classes, 0 to 2.
 * @property {number | null} nll In nats; none if it is infinite.
 * @property {[number, number, number][]} bins Mean confidence, accuracy and number of cases of each bin with a case.
 *
 * @typedef {object} RunScore A score in a run. `confidence`, `step`, `promised` and `prediction` are by sampled case. Working points are 1 to 100, and then that of the promised threshold.
 * @property {string} name
 * @property {ScorePromise | null} promise Null for a score without calibration cases.
 * @property {Float64Array} thresholds By working point; infinite without a promised threshold.
 * @property {Float32Array} confidence
 * @property {Uint8Array} step The first of the working points 1 to 100 that trusts the case, above 100 for none.
 * @property {Uint8Array} promised 1 where the promised threshold trusts the case.
 * @property {Uint16Array} prediction The predicted class; without classes, 1 for a failure and 0 for any other case.
 * @property {Record<string, Float32Array>} effective Effective sample size of the trusted cases by working point, then that of all cases; by kind.
 * @property {Record<string, Seen | null>} seen By kind; null without a promised threshold, and where it trusts no case.
 * @property {Judged[]} sets
 *
 * @typedef {object} Judged A score evaluated on all cases of a test set. Arrays are by working point, except those of the curve.
 * @property {number | null} aurc None of new classes without ordinary cases.
 * @property {[number, number] | null} aurcInterval
 * @property {number} errors
 * @property {Uint32Array} trusted
 * @property {Uint32Array} silent
 * @property {Float32Array | null} meanError Mean error of the trusted cases, without classes.
 * @property {Float32Array} effective Effective sample size of the trusted cases; the last entry is that of all cases.
 * @property {Seen | null} seen
 * @property {Float32Array} coverage Coverages of the drawn curve.
 * @property {Float32Array} risk Risks of the drawn curve.
 *
 * @typedef {object} Affected Silent failures by group of cases, at one threshold of each score.
 * @property {AffectedColumn[]} columns The class, and columns of the case table.
 * @property {Record<string, AffectedScore>} csfs By score, of those that are offered initially.
 * @property {[string, string][]} leftOut Columns that make no groups, and why.
 *
 * @typedef {object} AffectedColumn
 * @property {string} name
 * @property {string[]} groups
 * @property {Uint16Array} codes Index into the groups, by sampled case; 65535 for a case of none.
 *
 * @typedef {object} AffectedScore
 * @property {boolean} promised Whether its threshold is the promised one.
 * @property {number} step Its working point.
 * @property {Uint8Array} silent 1 for silent failures, by sampled case.
 * @property {AffectedSet[]} sets The clean ones.
 *
 * @typedef {object} AffectedSet
 * @property {number} set Index of the test set.
 * @property {GroupRow[]} rows
 *
 * @typedef {object} GroupRow Rates are [value, low, high], without an interval where there is none.
 * @property {number} column Index of the column.
 * @property {number} group Index of the group.
 * @property {number} cases
 * @property {number} clusters Number of independent groups of cases, such as patients.
 * @property {number} errors
 * @property {number} silent Number of silent failures.
 * @property {[number, number | null, number | null]} rate Silent failures of all of its cases.
 * @property {[number, number | null, number | null]} coverage
 * @property {[number, number | null, number | null]} augrc
 * @property {number | null} rest Rate of silent failures of all other cases of the test set.
 * @property {boolean} worse Whether it fails silently more often than these, after correction for all groups.
 * @property {boolean} tooSmall
 * @property {[number, number, number, number] | null} gap Error rate of the group and of the others, before and after deferring cases; none unless it gets significantly wider.
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
 * @typedef {object} Sweep Images shown under all corruptions and severities; arrays are [image, set].
 * @property {string[]} ids
 * @property {number[]} sets The clean test set and the corrupted ones.
 * @property {Uint16Array} label By image.
 * @property {Float32Array | null} error Without classes.
 * @property {Int32Array} thumb
 * @property {Record<string, SweepScore>} csfs
 *
 * @typedef {object} SweepScore
 * @property {Float32Array} confidence
 * @property {Uint16Array} prediction
 * @property {Float32Array} rank Share of the reference cases whose confidence is not above that of this image.
 * @property {Uint8Array} step
 * @property {Uint8Array} promised
 *
 * @typedef {object} Cases
 * @property {string[]} id
 * @property {CaseColumn[]} columns
 *
 * @typedef {object} CaseColumn
 * @property {string} name
 * @property {string[]} values The distinct values.
 * @property {Uint32Array} codes Index into the values, by case.
 *
 * @typedef {object} Points The sampled cases, which are shown individually.
 * @property {number} count
 * @property {number} total Number of all cases.
 * @property {number} images Number of sampled cases with a thumbnail.
 * @property {[string, number, number][]} parts How many cases are shown, by part: title, number shown, total.
 * @property {Uint16Array} set
 * @property {Uint32Array} case Index into the cases.
 * @property {Uint16Array} label Index into the truths; without classes, 0.
 * @property {Float32Array | null} error In [0, 1], without classes.
 * @property {Int32Array} thumb Index of the thumbnail, -1 if there is none.
 * @property {Int16Array | null} xyz Places on the map; -32768 for a case without one.
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
 * Replace every `{"$array": [type, offset, length, block]}` by the typed array that it describes, when it is first read.
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
  // decoded on first access: the first view needs only one of them
  withArrays(content, (index) => (blocks[index] ??= bytesOf(`sf-arrays-${index}`).buffer));
  return content;
}
