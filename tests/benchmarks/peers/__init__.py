"""skygrid and its peers on the same searches: scikit-learn with loky, Ray, Dask, dask-ml."""
