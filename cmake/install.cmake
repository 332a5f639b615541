# What `cmake --install` and `cpack -G DEB` lay down.
