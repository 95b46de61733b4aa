"""The inference engine: cases go in, generated texts come out, with a fixed number of slots.

`engine.Engine` is the entry point. The modules are layers, each of which imports only those below
it: engine, scheduler, model_runner, decode_batch, then samplers, the decoder and the small parts.
"""
