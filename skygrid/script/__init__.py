"""``skygrid exec``: a Python script whose joblib calls and searches run on nodes."""
