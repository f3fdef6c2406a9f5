"""The names of the columns that a compression adds to a row, and of those that say which row it is."""

TEXT, SPANS, INPUT_TOKENS, KEPT_TOKENS, ERROR = RESULTS = (
    "cprs_text",
    "cprs_spans",
    "cprs_input_tokens",
    "cprs_kept_tokens",
    "cprs_error",
)
FILE, ROW = IDENTITY = ("cprs_file", "cprs_row")
FIELDS = "cprs_fields"  # where a table has no place for them: the other fields of a JSON line, as JSON
