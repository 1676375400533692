"""Analysis of a search: the numbers behind the report, as pure functions of one table.

Each function takes a `records.CandidateTable`:

- `verdict.judge`: the best candidate, and how sure that is
- `advice.advise`: hints for the next search
- `families.split_families`: candidates that can be compared value by value
- `effects.effects`: scores over the values of each parameter, by family
- `importance.importances`: the part of the variance that each parameter explains, by family
- `cost.cost`: scores against fit times, with the Pareto front

Row numbers in the results are rows of the table.
"""
