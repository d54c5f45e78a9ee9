// The page's words in its languages.

const TEXTS = {
  en: {
    again: "Read again", cancel: "Cancel", choose: "Choose files", close: "Close", confidence: "Mark doubtful words",
    copied: "Copied", copy: "Copy", documents: "Documents", drop: "Drop images, PDFs or TIFFs here, or paste them.",
    doubtful: "doubtful", holds: "holds", holdsNot: "does not hold", key: "API key", keyTitle: "This server asks for a key",
    keyWhy: "It stays in this tab, and is sent to this server only.", language: "Language", layout: "Layout", mode: "Read as",
    next: "Next page", page: "Page", photograph: "Take a photo", previous: "Previous page", read: "Text", result: "Result",
    request: "As a request", save: "Save", source: "Source", json: "JSON", stop: "Stop", views: "Views", field: "Field",
    value: "Value", checks: "Sums",
    noServer: "The server does not answer. Is it running?", loading: "The server is loading its model …",
    waiting: "waiting", sending: "sending", reading: "reading", done: "done", stopped: "stopped", failed: "failed",
    cut: "done, but its text was cut short",
    pageOf: (page, pages) => `Page ${page} of ${pages}`,
    progress: (page, pages, block, blocks) =>
      `page ${page} of ${pages}` + (blocks ? `, block ${Math.min(block + 1, blocks)} of ${blocks}` : ""),
    blockName: (label, order) => `Block ${order}: ${label}`,
    probability: (share) => `read with ${Math.round(share * 100)} % confidence`,
    "mode.document": "Whole pages", "mode.markdown": "Text", "mode.table": "A table", "mode.formula": "A formula",
    "mode.chart": "A chart", "mode.seal": "A seal", "mode.receipt": "A receipt", "mode.invoice": "An invoice",
    "mode.form": "A form", "mode.spotting": "Lines with places",
    "layout.auto": "As it looks", "layout.true": "Block by block", "layout.false": "Each page as one image",

    dropJobs: "Drop images, PDFs or TIFFs here, or paste them: each becomes a job that goes on without this page.",
    actions: "Actions", allJobs: "all jobs", document: "Document", download: "Download", noFormat: "Choose a result.",
    noJobs: "There are no jobs.", older: "Older jobs", pages: "Pages", results: "Results", searchable: "searchable PDF",
    show: "Show", status: "Status", submitted: "Submitted", uploads: "Being sent",
    "job.queued": "waiting", "job.running": "being read", "job.done": "done", "job.failed": "failed",
    "job.cancelled": "cancelled", "job.cancel": "Cancel", "job.retry": "Try again",
    pagesDone: (done, total) => `${done} of ${total}`,
    counts: (queued, running) => `${queued} waiting, ${running} being read`,
  },
  zh: {
    again: "重新识别", cancel: "取消", choose: "选择文件", close: "关闭", confidence: "标出存疑的字词",
    copied: "已复制", copy: "复制", documents: "文档", drop: "把图片、PDF 或 TIFF 拖到这里，或直接粘贴。",
    doubtful: "存疑", holds: "成立", holdsNot: "不成立", key: "API 密钥", keyTitle: "此服务器需要密钥",
    keyWhy: "密钥只保存在本标签页，只发送给此服务器。", language: "语言", layout: "版面", mode: "识别为",
    next: "下一页", page: "页面", photograph: "拍照", previous: "上一页", read: "文本", result: "结果",
    request: "请求代码", save: "保存", source: "源码", json: "JSON", stop: "停止", views: "视图", field: "字段",
    value: "值", checks: "合计",
    noServer: "服务器没有应答。它在运行吗？", loading: "服务器正在加载模型……",
    waiting: "等待中", sending: "发送中", reading: "识别中", done: "完成", stopped: "已停止", failed: "失败",
    cut: "完成，但文本被截断",
    pageOf: (page, pages) => `第 ${page} 页，共 ${pages} 页`,
    progress: (page, pages, block, blocks) =>
      `第 ${page}/${pages} 页` + (blocks ? `，第 ${Math.min(block + 1, blocks)}/${blocks} 块` : ""),
    blockName: (label, order) => `第 ${order} 块：${label}`,
    probability: (share) => `置信度 ${Math.round(share * 100)} %`,
    "mode.document": "整页", "mode.markdown": "文本", "mode.table": "表格", "mode.formula": "公式",
    "mode.chart": "图表", "mode.seal": "印章", "mode.receipt": "收据", "mode.invoice": "发票",
    "mode.form": "表单", "mode.spotting": "文字定位",
    "layout.auto": "自动", "layout.true": "逐块识别", "layout.false": "整页作为一张图",

    dropJobs: "把图片、PDF 或 TIFF 拖到这里，或直接粘贴：每个文件成为一个任务，关闭本页后仍会继续。",
    actions: "操作", allJobs: "全部任务", document: "文档", download: "下载", noFormat: "请至少选择一种结果。",
    noJobs: "没有任务。", older: "更早的任务", pages: "页数", results: "结果", searchable: "可搜索的 PDF",
    show: "显示", status: "状态", submitted: "提交时间", uploads: "正在发送",
    "job.queued": "等待中", "job.running": "识别中", "job.done": "完成", "job.failed": "失败",
    "job.cancelled": "已取消", "job.cancel": "取消", "job.retry": "重试",
    pagesDone: (done, total) => `${done} / ${total}`,
    counts: (queued, running) => `${queued} 个等待中，${running} 个识别中`,
  },
};

let language = navigator.language.startsWith("zh") ? "zh" : "en";

/** The text of this name in the language that is chosen; some are made from arguments. */
export function text(name, ...values) {
  const found = TEXTS[language][name] ?? name;
  return typeof found === "function" ? found(...values) : found;
}

export function chosenLanguage() {
  return language;
}

/** Choose a language, and put its texts into the page. */
export function useLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
}
