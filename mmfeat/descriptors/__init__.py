"""Fixed maps from pictures to rows or local descriptors: nothing here is learned."""
