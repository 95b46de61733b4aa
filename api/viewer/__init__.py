"""The films of a study: their pictures, their pixels for the viewer, and earlier films."""
