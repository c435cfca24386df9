"""The TensorBoard plugin's entry point; importing it loads neither TensorFlow, Keras, Beam nor Arrow."""

from __future__ import annotations

from tensorboard.plugins import base_plugin


class DeepExplainLoader(base_plugin.TBLoader):
    """Makes the plugin when TensorBoard starts."""

    def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin:
        from tb_deepexplain.plugin.routes import DeepExplainPlugin

        return DeepExplainPlugin(context)
