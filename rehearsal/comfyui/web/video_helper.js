// Stands in for the browser script of ComfyUI-VideoHelperSuite, which is not part of the
// simulation. Two things that saved workflows rely on: the nodes' values are kept by name, and a
// video format brings its own widgets (pix_fmt, crf ...).
import { app } from '../../scripts/app.js'

const PREFIX = 'VHS_'

function chain(prototype, name, step) {
  const before = prototype[name]
  prototype[name] = function (...args) {
    const result = before?.apply(this, args)
    step.apply(this, args)
    return result
  }
}

function addWidget(node, [name, type, options = {}]) {
  const ignore = () => {}
  if (Array.isArray(type)) {
    const value = options.default ?? type[0]
    return node.addWidget('combo', name, value, ignore, { values: type })
  }
  if (type === 'BOOLEAN') return node.addWidget('toggle', name, options.default ?? false, ignore, {})
  if (type === 'INT' || type === 'FLOAT') {
    const precision = type === 'INT' ? 0 : 2
    const limits = { min: options.min, max: options.max, step2: options.step ?? 1, precision }
    return node.addWidget('number', name, options.default ?? 0, ignore, limits)
  }
  return node.addWidget('text', name, options.default ?? '', ignore, {})
}

function showFormatWidgets(node, formats) {
  const format = node.widgets?.find((widget) => widget.name === 'format')
  if (!format) return
  for (const widget of node.simulatedFormatWidgets ?? []) node.removeWidget(widget)
  const wanted = formats[format.value]
  const known = new Set(node.widgets.map((widget) => widget.name))
  node.simulatedFormatWidgets = (Array.isArray(wanted) ? wanted : [])
    .filter(([name]) => !known.has(name))
    .map((definition) => addWidget(node, definition))
}

app.registerExtension({
  name: 'Simulated.VideoHelperSuite',
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith(PREFIX)) return
    const { required = {}, optional = {} } = nodeData.input ?? {}
    const formats = (required.format ?? optional.format)?.[1]?.formats ?? {}

    chain(nodeType.prototype, 'onNodeCreated', function () {
      const format = this.widgets?.find((widget) => widget.name === 'format')
      if (!format) return
      const changed = format.callback
      format.callback = (...args) => {
        const result = changed?.apply(format, args)
        showFormatWidgets(this, formats)
        return result
      }
      showFormatWidgets(this, formats)
    })

    chain(nodeType.prototype, 'onConfigure', function (saved) {
      const values = saved.widgets_values
      if (!values || Array.isArray(values)) return
      const set = () => {
        for (const widget of this.widgets ?? [])
          if (widget.name in values) widget.value = values[widget.name]
      }
      set()
      showFormatWidgets(this, formats)
      set()
    })

    chain(nodeType.prototype, 'onSerialize', function (saved) {
      saved.widgets_values = Object.fromEntries(
        (this.widgets ?? []).map((widget) => [widget.name, widget.value])
      )
    })
  }
})
